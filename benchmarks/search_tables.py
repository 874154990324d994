"""Exhaustive sweeps of the paper's strengths and 0, with every answer's margin."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.material import data_file
from pas.benchmarks import benchmarks
from pas.contrast import Answered, contrast_sets, possible_texts
from pas.data import Source, parse_rows, read_rows
from pas.examples import Example, Protocol, Split, split
from pas.extract import read
from pas.models import LoadedModel
from pas.prefix import Row, forget_roots
from pas.prompts import encode, full_prompt
from pas.protocol import Configuration, layers_of, rule_of, strengths_of
from pas.score import Question, ScoringRule, margin, prepare
from pas.sweep import score_rows

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
    """A sweep's margins, [n_cells, n_items] of both splits, above 0 where right.

    Attributes:
        task: With the protocol, if that is not `sound`.
        configurations: The cells.
        effects: Of each, strength x norm.
        val: Margins on the validation items.
        test: Margins on the test items.
        seconds: That the validation items took.
    """

    task: str
    configurations: list[Configuration]
    effects: list[float]
    val: np.ndarray
    test: np.ndarray
    seconds: float


def items_of(task: str, protocol: Protocol, seed: int, most: int) -> Split:
    """The task's items, split as the protocol splits them."""
    benchmark, file = benchmarks()[task], FILES[task]
    if file is None:
        assert benchmark.generate is not None
        examples = benchmark.generate()
    else:
        assert benchmark.parse is not None
        rows = read_rows(Source(str(data_file().parents[1] / file)))
        examples = parse_rows(rows, benchmark.parse, task)
    return split(examples, seed, protocol, most)


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

    def margins(self, cells: Sequence[Configuration], items: Sequence[Example]) -> np.ndarray:
        """How far right answers lead: [n_cells, n_items]; strength 0 is the row of no vector."""
        forget_roots()
        asked = questions_of(self.model, items, self.rule)
        steered = [c for c in cells if c.strength]
        rows = [
            Row(c.layer, torch.from_numpy(c.strength * self.directions[c.method, c.layer]).float())
            for c in steered
        ]
        place = {c: 1 + at for at, c in enumerate(steered)}
        found = np.array([
            [margin(scores, q.label) for scores in table.tolist()]
            for table, q in zip(score_rows(self.model, asked, rows), asked, strict=True)
        ]).T  # fmt: skip
        return found[[place.get(c, 0) for c in cells]]

    def score(self, cells: Sequence[Configuration], items: Sequence[int]) -> np.ndarray:
        """As `pas.search` asks for it, on the validation items."""
        return self.margins(cells, [self.parts.val[at] for at in items])


def sweep_of(
    model: LoadedModel, task: str, protocol: Protocol, seed: int, most: int, layers: str
) -> Sweep:
    """What is to be swept of a task: its items, the vectors and the grid."""
    rule = rule_of(benchmarks()[task].scoring, protocol, True)
    parts = items_of(task, protocol, seed, most)
    directions = directions_of(model, parts.train, rule, layers_of(layers, model.n_layers))
    grid = [Configuration(*at, s) for at in directions for s in strengths_of("auto", "sound")]
    return Sweep(model, parts, rule, directions, grid)


def table_of(task: str, at: Sweep) -> Table:
    """Every cell on every validation and test item."""
    norms = {key: float(np.linalg.norm(vector)) for key, vector in at.directions.items()}
    effects = [c.strength * norms[c.method, c.layer] for c in at.grid]
    start = perf_counter()
    val = at.margins(at.grid, at.parts.val)
    seconds = perf_counter() - start
    return Table(task, at.grid, effects, val, at.margins(at.grid, at.parts.test), seconds)


def save_table(table: Table, file: Path) -> None:
    """Keep a table as .npz, to replay it without the model."""
    cells = {
        name: [getattr(c, name) for c in table.configurations] for name in Configuration._fields
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **(table._asdict() | {"configurations": 0} | cells))


def load_table(file: Path) -> Table:
    """Read what `save_table` wrote."""
    with np.load(file) as kept:
        columns = [kept[name].tolist() for name in Configuration._fields]
        return Table(
            str(kept["task"]), [Configuration(*row) for row in zip(*columns, strict=True)],
            kept["effects"].tolist(), kept["val"], kept["test"], float(kept["seconds"]),
        )  # fmt: skip
