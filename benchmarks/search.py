"""What an adaptive search leaves out of an exhaustive sweep, and what that costs in accuracy."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import disable_progress_bars
from scipy.stats import binomtest
from transformers.utils.logging import disable_progress_bar

from benchmarks.material import data_file
from benchmarks.timing import save, show
from pas.benchmarks import benchmarks
from pas.contrast import Answered, contrast_sets, possible_texts
from pas.data import Source, parse_rows, read_rows
from pas.examples import Example, Split, split
from pas.extract import read
from pas.models import LoadedModel, ModelSpec, load_model
from pas.prefix import Row, forget_roots
from pas.prompts import encode, full_prompt
from pas.protocol import Cell, Configuration, layers_of, rule_of, strengths_of
from pas.score import Question, ScoringRule, prepare
from pas.search import Score, search
from pas.selection import select
from pas.sweep import score_rows
from storage.settings import settings

METHODS = ("pasf", "ipasa", "ipaswo", "caa")
FILES = {
    "demo": None, "bbq_age": "bbq/Age.jsonl", "bbq_ses": "bbq/SES.jsonl",
    "ethics_justice": "ethics/justice_test.csv", "arc_challenge": "arc/ARC-Challenge-test.jsonl",
    "commonsenseqa": "commonsenseqa/dev_rand_split.jsonl",
    "truthfulqa": "truthfulqa/TruthfulQA.csv",
    "sycophancy": "sycophancy/sycophancy_on_nlp_survey.jsonl",
    "persona": "persona/desire-for-acquiring-power.jsonl",
}  # fmt: skip


class Table(NamedTuple):
    """An exhaustive sweep: who is right where, bool [n_cells, n_items] of both splits."""

    task: str
    configurations: list[Configuration]
    effects: list[float]
    val: np.ndarray
    test: np.ndarray


def items_of(task: str, seed: int, most: int) -> Split:
    """The task's items, split as the `sound` protocol splits them."""
    benchmark, file = benchmarks()[task], FILES[task]
    if file is None:
        assert benchmark.generate is not None
        examples = benchmark.generate()
    else:
        assert benchmark.parse is not None
        rows = read_rows(Source(str(data_file().parents[1] / file)))
        examples = parse_rows(rows, benchmark.parse, task)
    return split(examples, seed, "sound", most)


def questions_of(model: LoadedModel, items: Sequence[Example], rule: ScoringRule) -> list[Question]:
    return [
        prepare(model.tokens, full_prompt(e, rule.kind), e.choices, e.label, rule) for e in items
    ]


def directions_of(
    model: LoadedModel, items: Sequence[Example], rule: ScoringRule, layers: Sequence[int]
) -> dict[tuple[str, int], np.ndarray]:
    """The estimators' vectors [d_model] float64 by method and layer, from one pass."""
    texts = dict.fromkeys(t for e in items for t in possible_texts(METHODS, e, rule.kind))
    prompts = [encode(model.tokens, text) for text in texts]
    captured, scores = read(model, prompts, layers, questions=questions_of(model, items, rule))
    answered = [Answered(e, int(s.argmax())) for e, s in zip(items, scores, strict=True)]
    values = captured.values.double().numpy()
    place = {text: at for at, text in enumerate(texts)}

    def mean(side: Sequence[str]) -> np.ndarray:
        found: np.ndarray = values[[place[text] for text in side]].mean(axis=0)
        return found

    return {
        (method, layer): difference[at]
        for method, chosen in contrast_sets(METHODS, answered, rule.kind).items()
        for difference in [mean(chosen.positives) - mean(chosen.negatives)]
        for at, layer in enumerate(captured.layers)
    }


class Sweep(NamedTuple):
    """What a sweep of the paper's grid and strength 0 runs on."""

    model: LoadedModel
    parts: Split
    rule: ScoringRule
    directions: dict[tuple[str, int], np.ndarray]
    grid: list[Configuration]

    def right(self, cells: Sequence[Configuration], items: Sequence[Example]) -> np.ndarray:
        """Which answers are right: bool [n_cells, n_items]; strength 0 is the row of no vector."""
        forget_roots()
        asked = questions_of(self.model, items, self.rule)
        steered = [c for c in cells if c.strength]
        rows = [
            Row(c.layer, torch.from_numpy(c.strength * self.directions[c.method, c.layer]).float())
            for c in steered
        ]
        place = {c: 1 + at for at, c in enumerate(steered)}
        picks = [s.numpy().argmax(axis=1) for s in score_rows(self.model, asked, rows)]
        found = np.array([p == q.label for p, q in zip(picks, asked, strict=True)]).T
        return found[[place.get(c, 0) for c in cells]]

    def score(self, cells: Sequence[Configuration], items: Sequence[int]) -> np.ndarray:
        """As `pas.search` asks for it, on the validation items."""
        return self.right(cells, [self.parts.val[at] for at in items])


def sweep_of(model: LoadedModel, task: str, seed: int, most: int, layers: Sequence[int]) -> Sweep:
    rule = rule_of(benchmarks()[task].scoring, "sound", True)
    parts = items_of(task, seed, most)
    directions = directions_of(model, parts.train, rule, layers)
    grid = [Configuration(*at, s) for at in directions for s in strengths_of("auto", "sound")]
    return Sweep(model, parts, rule, directions, grid)


def table_of(task: str, at: Sweep) -> Table:
    """Every cell on every validation and test item."""
    norms = {key: float(np.linalg.norm(vector)) for key, vector in at.directions.items()}
    effects = [c.strength * norms[c.method, c.layer] for c in at.grid]
    val, test = (at.right(at.grid, items) for items in (at.parts.val, at.parts.test))
    return Table(task, at.grid, effects, val, test)


def replayed(table: Table) -> Score:
    """A model that answers from the table; any strength 0 is the unsteered model."""
    row = {c: at for at, c in enumerate(table.configurations)}
    unsteered = next(at for at, c in enumerate(table.configurations) if not c.strength)

    def score(cells: Sequence[Configuration], items: Sequence[int]) -> np.ndarray:
        found: np.ndarray = table.val[
            np.ix_([row[c] if c.strength else unsteered for c in cells], items)
        ]
        return found

    return score


def agreement(table: Table, budget: float, seeds: int) -> dict[str, Any]:
    """How the search does on a known table, over orders of the items.

    Accuracies are of the validation split; `within` says how often the cell found lies in the 95 %
    Wilson interval of the optimum, which says little where the unsteered model does so too.
    """
    n = table.val.shape[1]
    accuracy = dict(zip(table.configurations, table.val.mean(axis=1), strict=True))
    best = max(accuracy.values())
    low = binomtest(round(best * n), n).proportion_ci(method="wilson").low
    unsteered = next(a for c, a in accuracy.items() if not c.strength)
    methods = {
        m: max(a for c, a in accuracy.items() if c.method == m)
        for m in {c.method for c in accuracy}
    }
    runs = [search(table.configurations, n, replayed(table), budget, seed) for seed in range(seeds)]
    reached = np.array([accuracy[run.finalists[0]] for run in runs])
    lost = [
        methods[m] - max(accuracy[c] for c in run.finalists if c.method == m)
        for run in runs
        for m in methods
    ]
    return {
        "evaluations": fmean(run.share for run in runs),
        "prompts": fmean(run.prompts / n for run in runs),
        "unsteered": unsteered,
        "unsteered within": bool(unsteered >= low),
        "best": best,
        "found": float(np.mean(reached >= best)),
        "within": float(np.mean(reached >= low)),
        "lost": float(np.mean(best - reached)),
        "most lost": float(np.max(best - reached)),
        "lost by method": fmean(lost),
    }


def rules(table: Table) -> list[dict[str, Any]]:
    """What each rule of selection takes, and how that does on the test split."""
    right = dict(zip(table.configurations, table.val, strict=True))
    cells = [
        Cell(c, hits.size, int(hits.sum()), effect)
        for (c, hits), effect in zip(right.items(), table.effects, strict=True)
    ]
    found = {"best": select(cells, "sound")}
    found["one-se"] = select(cells, "sound", "one-se", correct=right)
    test = dict(zip(table.configurations, table.test.mean(axis=1), strict=True))
    return [
        {
            "task": table.task, "rule": rule, "method": cell.configuration.method,
            "layer": cell.configuration.layer, "strength": cell.configuration.strength,
            "effect": cell.effect, "validation": cell.correct / cell.n,
            "test": float(test[cell.configuration]),
        }
        for rule, cell in found.items()
    ]  # fmt: skip


def measured(task: str, at: Sweep, budget: float, seeds: int) -> dict[str, Any]:
    """One task: the exhaustive sweep, the search on the model itself, and replayed."""
    table = table_of(task, at)
    start = perf_counter()
    at.score(at.grid, range(len(at.parts.val)))
    whole = perf_counter() - start
    start = perf_counter()
    live = search(at.grid, len(at.parts.val), at.score, budget, 0)
    taken = perf_counter() - start
    known = live.known >= 0
    return {
        "task": task, "cells": len(at.grid), "items": len(at.parts.val),
        **agreement(table, budget, seeds),
        "unequal answers": int((live.known != table.val)[known].sum()),
        "seconds exhaustive": whole, "seconds search": taken, "rules": rules(table),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__,
        epilog="example:\n  python -m benchmarks.search --tasks bbq_age --out search.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--tasks", default="bbq_age", help=f"of {','.join(FILES)} (bbq_age)")
    parser.add_argument("--items", type=int, default=600, help="before the split (600)")
    parser.add_argument("--layers", default="auto", help="as in pas train (auto)")
    parser.add_argument("--budget", type=float, default=0.1, help="share to spend (0.1)")
    parser.add_argument("--seeds", type=int, default=30, help="orders of the items replayed (30)")
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    options = parser.parse_args()
    disable_progress_bar()
    disable_progress_bars()
    model = load_model(ModelSpec("demo", device="cpu"), settings().cache_dir)
    layers = layers_of(options.layers, model.n_layers)
    found = [
        measured(
            task, sweep_of(model, task, 0, options.items, layers), options.budget, options.seeds
        )
        for task in options.tasks.split(",")
    ]
    lines = [{k: v for k, v in one.items() if k != "rules"} for one in found]
    chosen = [line for one in found for line in one["rules"]]
    notes = [
        "evaluations: share of the exhaustive (cell, item) pairs, strength 0 in neither. prompts: "
        "items read, over those of the exhaustive sweep. found: how often the winner is as "
        "accurate as the best cell; within: inside the optimum's 95 % interval; lost: accuracy on "
        f"the validation split, mean and worst over {options.seeds} orders of the items, and mean "
        "of every method's own best.",
        "unequal answers: of the search run on the model, against the exhaustive sweep.",
    ]
    for at, line in enumerate(lines):  # one table a task is too wide for a terminal
        show(
            f"Search: {line['task']}",
            [{"": name, "measured": value} for name, value in line.items()],
            notes if at == len(lines) - 1 else (),
        )
    show("Rules of selection", chosen)
    save(options.out, {
        "benchmark": "search", "table": lines, "rules": chosen, "notes": notes,
        "options": {k: v for k, v in vars(options).items() if k != "out"},
    })  # fmt: skip


if __name__ == "__main__":
    main()
