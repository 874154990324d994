"""The model, the data and the configurations that the measurements share."""

import argparse
import os
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np
import torch
from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import full_prompt
from pas.data.splits import Protocol, Split, split
from pas.datasets import benchmarks
from pas.engine.prefix import Steering
from pas.engine.scoring import rule_of
from pas.intake.items import parse_rows
from pas.intake.sources import Source, read_rows
from pas.methods.contrast import ContrastSet, contrast_sets
from pas.methods.grid import PAPER_STRENGTHS, Configuration, layers_of, read_layer
from pas.models.files import model_folder
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from storage.settings import settings

METHODS = ("pasf", "ipasa", "ipaswo")
RULE = rule_of("letter", "paper", False)
_DATA = Path(__file__).parents[2] / "shared" / "data"


class LetterPrompt(NamedTuple):
    """A rendered prompt and the choices that its letters stand for."""

    text: str
    choices: tuple[str, ...]


class Material(NamedTuple):
    """The demo model, its folder, and BBQ Age cut as the paper cuts it."""

    model: LoadedModel
    folder: Path
    train: tuple[Example, ...]
    val: tuple[Example, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """The paper's layers at this model's depth."""
        return layers_of("auto", self.model.n_layers)

    @property
    def reads(self) -> tuple[int, ...]:
        """The blocks whose output is read for `layers`."""
        return tuple(read_layer(layer, "paper") for layer in self.layers)


def data_file() -> Path:
    """BBQ Age in its upstream format."""
    file = Path(os.environ.get("PAS_SHARED_DATA", _DATA)) / "bbq" / "Age.jsonl"
    if not file.is_file():
        raise SystemExit("BBQ's Age.jsonl is not there: name the data folder in PAS_SHARED_DATA")
    return file


def material(protocol: Protocol = "paper") -> Material:
    """Load what is measured; the first time this fetches and converts the model.

    Of the `sound` split the first items are whole groups, as they are in a whole split.
    """
    disable_progress_bar()
    disable_progress_bars()
    spec, cache = ModelSpec("demo", device="cpu"), settings().cache_dir
    file = data_file()
    task = benchmarks()["bbq_age"]
    assert task.parse is not None
    parts = split(
        parse_rows(read_rows(Source(str(file))), task.parse, task.name), 0, protocol, 4000
    )
    if protocol == "sound":
        parts = Split(*(tuple(sorted(part, key=lambda e: (e.group, e.id))) for part in parts))
    return Material(load_model(spec, cache), model_folder(spec, cache), parts.train, parts.val)


def asked(items: Sequence[Example], exemplars: Sequence[Example] = ()) -> list[LetterPrompt]:
    """Render the items, with the exemplars and their answers first if there are any."""
    before = [f"{full_prompt(e, 'letter')} {ascii_uppercase[e.label]}" for e in exemplars]
    return [
        LetterPrompt("\n\n".join([*before, full_prompt(item, "letter")]), item.choices)
        for item in items
    ]


def contrasts(items: Sequence[Example], picks: Sequence[int]) -> dict[str, ContrastSet]:
    """The three methods' contrast sets, from the model's own answers."""
    answered = [ItemAnswer(item, int(pick)) for item, pick in zip(items, picks, strict=True)]
    return contrast_sets(METHODS, answered, "letter")


def grid(layers: Sequence[int], count: int) -> list[Configuration]:
    """`count` of the paper's configurations, spread over layers, strengths and methods."""
    cells = {
        layer: [Configuration(m, layer, s) for s in PAPER_STRENGTHS for m in METHODS]
        for layer in layers
    }
    return spread(cells, count)


def spread(cells: dict[int, list[Configuration]], count: int) -> list[Configuration]:
    """Take turns among the layers; each step goes on by about 0.62 of a layer's list.

    Steps share no divisor with the list's length, so no layer meets a cell twice, and different
    layers meet different strengths and methods.
    """
    chosen = []
    for turn in range(max(map(len, cells.values()))):
        for at, listed in enumerate(cells.values()):
            size = len(listed)
            if turn < size:
                place = turn * _coprime(len(cells), size) + at
                chosen.append(listed[place * _coprime(int(0.62 * size), size) % size])
    return chosen[:count]


def _coprime(least: int, size: int) -> int:
    """The first number from `least` on that shares no divisor with `size`."""
    return next(n for n in range(max(1, least), least + size + 2) if gcd(n, size) == 1)


def by_layer(configurations: Sequence[Configuration]) -> dict[int, list[Configuration]]:
    """Group for `spread`, in the order of method and strength."""
    found: dict[int, list[Configuration]] = {}
    for at in sorted(configurations, key=lambda c: (c.layer, c.strength, c.method)):
        found.setdefault(at.layer, []).append(at)
    return found


def rows_of(
    configurations: Sequence[Configuration], vectors: dict[tuple[str, int], np.ndarray]
) -> list[Steering]:
    """Return the layer and delta of each row; `vectors` are by (method, block read), float64."""
    return [
        Steering(
            c.layer,
            torch.from_numpy(c.strength * vectors[c.method, read_layer(c.layer, "paper")]).float(),
        )
        for c in configurations
    ]


def arguments(name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """Add the options that all commands have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds, the median counts (3)")
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    parser.add_argument(
        "--peer-python",
        type=Path,
        metavar="PATH",
        help="interpreter of an environment that has steering-vectors",
    )
    return parser
