"""The test items whose answers steering turned: which, and how far the scores moved."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pas.data.examples import Example
from pas.data.prompts import Scoring, full_prompt
from pas.engine.scoring import margin
from pas.methods.grid import Configuration


class Answer(NamedTuple):
    """What the model answered: index of the choice, and each choice's score in log units."""

    choice: int
    scores: tuple[float, ...]


class Choice(NamedTuple):
    """One choice of a flipped item, with its score unsteered and steered."""

    letter: str
    text: str
    role: str
    right: bool
    picked_before: bool
    picked_after: bool
    before: float
    after: float


class Flip(NamedTuple):
    """A flipped item.

    Attributes:
        item_id: Of the item.
        prompt: What the model reads, without worked examples before it.
        has_shots: Whether there are such examples.
        choices: In the order shown.
        margin_before: Score of the right choice minus the best other one, unsteered, log units.
        margin_after: The same, steered.
    """

    item_id: str
    prompt: str
    has_shots: bool
    choices: tuple[Choice, ...]
    margin_before: float
    margin_after: float


class Flips(NamedTuple):
    """All flips of a kind, the farthest first, up to as many as were asked for."""

    total: int
    shown: tuple[Flip, ...]


def test_answers(predictions: pa.Table, at: Configuration | None) -> dict[str, Answer]:
    """Return the test answers by item, from a run's table `predictions`.

    Args:
        predictions: As `tasks.record.run_tables` returns it.
        at: A configuration; None, or one of strength 0, is the unsteered model.
    """
    wanted = pc.equal(predictions["split"], "test")
    if at is None or not at.strength:
        wanted = pc.and_(wanted, pc.equal(predictions["strength"], 0.0))
    else:
        for column, value in at._asdict().items():
            wanted = pc.and_kleene(wanted, pc.equal(predictions[column], value))
    rows = predictions.filter(wanted).to_pylist()
    return {row["item_id"]: Answer(row["choice"], tuple(row["scores"])) for row in rows}


def flips(
    test: Sequence[Example],
    before: Mapping[str, Answer],
    after: Mapping[str, Answer],
    scoring: Scoring,
    most: int = 5,
) -> tuple[Flips, Flips]:
    """Find the items that went from wrong to right, and those from right to wrong.

    Args:
        test: The items.
        before: Their unsteered answers.
        after: Their steered answers.
        scoring: How the prompt is rendered.
        most: How many to show of each, by how far the margin moved.
    """
    found: tuple[list[Flip], list[Flip]] = ([], [])
    for example in test:
        was, now = before[example.id], after[example.id]
        if (was.choice == example.label) != (now.choice == example.label):
            turned = found[0] if now.choice == example.label else found[1]
            turned.append(_flip(example, was, now, scoring))
    return _farthest(found[0], most), _farthest(found[1], most)


def _farthest(found: Sequence[Flip], most: int) -> Flips:
    ranked = sorted(found, key=lambda f: (-abs(f.margin_after - f.margin_before), f.item_id))
    return Flips(len(found), tuple(ranked[:most]))


def _flip(example: Example, was: Answer, now: Answer, scoring: Scoring) -> Flip:
    choices = tuple(
        Choice(
            letter=ascii_uppercase[i],
            text=text,
            role=example.roles[i] if example.roles else "",
            right=i == example.label,
            picked_before=i == was.choice,
            picked_after=i == now.choice,
            before=was.scores[i],
            after=now.scores[i],
        )
        for i, text in enumerate(example.choices)
    )
    return Flip(
        example.id,
        full_prompt(example, scoring).removeprefix(example.prefix),
        bool(example.prefix),
        choices,
        margin(was.scores, example.label),
        margin(now.scores, example.label),
    )
