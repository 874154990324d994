"""Estimate the work of a study from the facts under `planning` in its file.

No model and no data set is read. The file states:

    planning:
      tflops: 380                # what the device achieves, or give --rates
      rate: where that is from
      models:
        org/name: {parameters: 8.0e9, layers: 32, d_model: 4096, bytes_per_value: 2}
      tasks:
        bbq_ses: {items: 6864, choices: 3, prompt_tokens: 80, choice_tokens: 2, shared_tokens: 22}

Counts are those of `tasks.forecast`, with mean lengths in the place of tokenised prompts.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rates import Rates, rates_of
from benchmarks.timing import show
from pas.data.splits import SHARES
from pas.errors import UserError
from pas.evidence.evaluation import RANDOM_DRAWS
from pas.methods.grid import layers_of, strengths_of
from pas.recipe import Recipe
from pas.study.file import read_study
from pas.study.plan import Study, StudyCell, cells

_KEYS = {"tflops", "rate", "models", "tasks"}
# docs/method.md: the authors' run of one layer and one strength of one method, load included, took
# 103 s for 2400 predictions, as many activations, 800 validation and 2 x 800 test passes.
_PUBLISHED_SECONDS = 103 / (2400 + 2400 + 800 + 2 * 800)


class Shape(NamedTuple):
    """A model: parameters, decoder blocks, width, and bytes of a stored activation's value."""

    parameters: float
    layers: int
    d_model: int
    bytes_per_value: int


class Size(NamedTuple):
    """A task; all but the items are means, see `benchmarks.sizes`.

    Attributes:
        items: In the split that is read.
        choices: Of an item.
        prompt_tokens: Of an item.
        choice_tokens: That a choice's statement adds to its question.
        shared_tokens: Of an item's, that others run in the same pass have already.
    """

    items: int
    choices: float
    prompt_tokens: float
    choice_tokens: float
    shared_tokens: float

    @property
    def own_tokens(self) -> float:
        """Tokens of a prompt that must be run for it."""
        return self.prompt_tokens - self.shared_tokens


class Estimate(NamedTuple):
    """One setting of one model.

    Attributes:
        setting: With its variant left out.
        model: As named in the study.
        cells: Number of cells of the setting.
        published_passes: Forward passes of the published loop, which shares nothing: predictions,
            one for each prompt, layer and method, one for each configuration and validation item,
            and two for each test item.
        tokens: Tokens that `pas` runs through the whole model.
        steered_rows: Steered tokens, each through the blocks above its layer.
        whole_teraflops: Floating-point work of the tokens, 2 per parameter and token.
        steered_teraflops: Floating-point work of the steered rows.
        bytes: Size of the activations before compression. Prompts that seeds and settings share
            count once.
    """

    setting: str
    model: str
    cells: int
    published_passes: int
    tokens: int
    steered_rows: int
    whole_teraflops: float
    steered_teraflops: float
    bytes: int

    @property
    def teraflops(self) -> float:
        """All of our work."""
        return self.whole_teraflops + self.steered_teraflops

    def hours(self, rates: Rates) -> float:
        """GPU-hours of ours."""
        return (self.whole_teraflops / rates.whole + self.steered_teraflops / rates.steered) / 3600

    @property
    def published_hours(self) -> float:
        """GPU-hours of the published loop at the authors' seconds a pass, on their GPU."""
        return self.published_passes * _PUBLISHED_SECONDS / 3600


def sweep_passes(recipe: Recipe, n_layers: int, size: Size) -> int:
    """Return the published loop's passes of the sweep alone: configurations x validation items."""
    layers = len(layers_of(recipe.layers, n_layers))
    strengths = len([s for s in strengths_of(recipe.strengths, recipe.protocol) if s])
    return len(recipe.estimators) * layers * strengths * _counts(recipe, size)[1]


def estimates(study: Study) -> list[Estimate]:
    """Estimate every setting of every model.

    Raises:
        UserError: If `planning` lacks a model or task, or is malformed.
    """
    models, sizes = _facts(study, "models", Shape), _facts(study, "tasks", Size)
    groups: dict[tuple[str, str], list[tuple[StudyCell, int]]] = {}
    for cell, seeds in _without_seeds(cells(study)):
        groups.setdefault((cell.setting, cell.recipe.model.id), []).append((cell, seeds))
    return [
        _sum(setting, model, [(_one(cell, seeds, models, sizes), seeds) for cell, seeds in group])
        for (setting, model), group in groups.items()
    ]


def _without_seeds(found: Iterable[StudyCell]) -> list[tuple[StudyCell, int]]:
    counts: dict[tuple[Any, ...], tuple[StudyCell, int]] = {}
    for cell in found:
        target = cell.target.task if cell.target else ""
        key = (cell.setting, cell.variant, cell.recipe.model.id, cell.recipe.task, target)
        counts[key] = (cell, counts[key][1] + 1) if key in counts else (cell, 1)
    return list(counts.values())


def _counts(recipe: Recipe, size: Size) -> tuple[int, int, int]:
    """Return how many items train, validate and test."""
    items = min(size.items, recipe.max_items or size.items)
    train, val = int(items * SHARES[0]), int(items * SHARES[1])
    if (recipe.train_items or 0) > train:
        raise UserError(
            f"train_items {recipe.train_items}: the training split of {recipe.task} has only "
            f"{train} items"
        )
    return recipe.train_items or train, val, items - train - val


def _one(
    cell: StudyCell, seeds: int, models: Mapping[str, Shape], sizes: Mapping[str, Size]
) -> Estimate:
    """Estimate one seed of a cell; its bytes are of all seeds."""
    recipe = cell.recipe
    shape = _known(models, "models", recipe.model.id)
    size = _known(sizes, "tasks", recipe.task)
    layers = layers_of(recipe.layers, shape.layers)
    share = 1 - sum(layers) / len(layers) / shape.layers
    if cell.target is not None:
        asked = _known(sizes, "tasks", cell.target.task)
        n_test = _counts(cell.target, asked)[2]
        tokens, rows = n_test * asked.own_tokens, n_test * (len(cell.strengths) + 1)
        passes, stored = rows + n_test, 0.0
    else:
        train, val, test = _counts(recipe, size)
        strengths = len([s for s in strengths_of(recipe.strengths, recipe.protocol) if s])
        spread = len(recipe.methods) * len(layers) * strengths
        statements = size.choices * size.choice_tokens
        # A smaller training set is part of the main one, and exemplars are one prefix for all.
        read = 0.0 if cell.setting == "samples" else train * (size.own_tokens + statements)
        tokens = read + (val + 2 * test) * size.own_tokens
        rows = val * spread + test * (len(recipe.estimators) + RANDOM_DRAWS + 1)
        passes = train + train * len(layers) * len(recipe.estimators) + 2 * test
        passes += sweep_passes(recipe, shape.layers, size)
        stored = _prompts(cell, size, train, seeds) * len(layers) * shape.d_model
        if cell.tuning is not None:  # a backward pass is two forward ones
            tokens += 3 * cell.tuning.items_seen(train) * size.prompt_tokens
    each = 2 * shape.parameters / 1e12
    return Estimate(
        cell.setting,
        recipe.model.id,
        1,
        int(passes),
        int(tokens),
        int(rows),
        each * tokens,
        each * rows * share,
        int(stored * shape.bytes_per_value),
    )


def _prompts(cell: StudyCell, size: Size, train: int, seeds: int) -> float:
    """Return the distinct prompts of all seeds whose activations are stored."""
    if cell.setting == "samples":
        return 0.0
    full = seeds * train  # another seed shows another order of choices
    if cell.setting == "icl":
        return full  # the statements are the main setting's
    # Expected items that some seed trains on.
    distinct = size.items * (1 - (1 - train / size.items) ** seeds)
    return full + distinct * size.choices


def _sum(setting: str, model: str, found: list[tuple[Estimate, int]]) -> Estimate:
    def over(name: str) -> Any:
        return sum(getattr(estimate, name) * seeds for estimate, seeds in found)

    return Estimate(
        setting,
        model,
        sum(seeds for _, seeds in found),
        over("published_passes"),
        over("tokens"),
        over("steered_rows"),
        over("whole_teraflops"),
        over("steered_teraflops"),
        sum(estimate.bytes for estimate, _ in found),
    )


def _facts(study: Study, key: str, kind: Any) -> dict[str, Any]:
    unknown = set(study.planning) - _KEYS
    if unknown:
        raise UserError(
            f"planning: there is no key {', '.join(sorted(map(str, unknown)))}; "
            f"the keys are {', '.join(sorted(_KEYS))}"
        )
    found = {}
    for name, values in (study.planning.get(key) or {}).items():
        if not isinstance(values, Mapping) or set(values) != set(kind._fields):
            raise UserError(f"planning: {key}: {name}: give {', '.join(kind._fields)}")
        if not all(isinstance(v, int | float) and v >= 0 for v in values.values()):
            raise UserError(f"planning: {key}: {name}: each value is a number of at least 0")
        found[name] = kind(**values)
    return found


def _known(facts: Mapping[str, Any], key: str, name: str) -> Any:
    if name not in facts:
        raise UserError(f"planning: {key}: add {name}, which the study names")
    return facts[name]


def as_document(found: Sequence[Estimate], rates: Rates) -> dict[str, Any]:
    """Return the estimates and the rates, JSON-able."""
    return {
        "rates": rates._asdict(),
        "settings": [
            e._asdict()
            | {
                "teraflops": e.teraflops,
                "gpu_hours": e.hours(rates),
                "published_gpu_hours": e.published_hours,
            }
            for e in found
        ],
    }


def _row(e: Estimate, hours: float) -> dict[str, str]:
    return {
        "setting": e.setting,
        "model": e.model.rpartition("/")[2],
        "cells": f"{e.cells:,}",
        "published loop, M passes": f"{e.published_passes / 1e6:,.1f}",
        "its GPU-hours": f"{e.published_hours:,.0f}",
        "M tokens": f"{e.tokens / 1e6:,.0f}",
        "M steered rows": f"{e.steered_rows / 1e6:,.0f}",
        "PFLOP": f"{e.teraflops / 1e3:,.0f}",
        "GPU-hours": f"{hours:,.1f}",
        "cache, GB": f"{e.bytes / 1e9:,.1f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planning",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.planning studies/paper.yaml --tflops 380",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="a study file with the key planning")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--tflops", type=float, help="what your device achieves, TFLOP/s")
    rate.add_argument("--rates", type=Path, help="what python -m benchmarks.gpu --out wrote")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    options = parser.parse_args(arguments)
    try:
        study = read_study(options.study)
        rates = rates_of(study, options.tflops, options.rates)
        found = estimates(study)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    if options.json:
        print(json.dumps(as_document(found, rates), indent=2))
        return
    columns = list(zip(*found, strict=True))[2:]
    whole = Estimate("all", "", *(sum(column) for column in columns))
    speed = " and ".join(dict.fromkeys(f"{value:.4g}" for value in rates[:2]))
    show(
        f"Study {study.name}: what it would take, from its planning facts",
        [_row(e, e.hours(rates)) for e in (*found, whole)],
        [
            f"GPU-hours at {speed} TFLOP/s ({rates.source}); the published loop's at its authors' "
            "103 s for one layer and strength, on their GPU"
        ],
    )


if __name__ == "__main__":
    main()
