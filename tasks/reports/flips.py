"""The test items whose answers steering turned: which, and how far the scores moved."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np

from pas.data.examples import Example
from pas.data.prompts import Scoring, full_prompt
from pas.engine.scoring import margin
from pas.methods.answers import Answers
from pas.methods.grid import Configuration


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


def flips(
    test: Sequence[Example],
    answers: Answers,
    selected: Configuration,
    scoring: Scoring,
    most: int = 5,
) -> tuple[Flips, Flips]:
    """Find the items that went from wrong to right, and those from right to wrong.

    Args:
        test: The items.
        answers: To these items, in the same order.
        selected: The configuration to compare with the unsteered model.
        scoring: How the prompt is rendered.
        most: How many to show of each, by how far the margin moved.

    Raises:
        ValueError: If the answers are not to these items.
    """
    if answers.item_ids != tuple(example.id for example in test):
        raise ValueError("the answers are not to the test items")
    to_right, to_wrong = list[Flip](), list[Flip]()
    before, after = answers.correct(), answers.correct(selected)
    for index in (before != after).nonzero()[0]:
        flip = _flip(
            test[index],
            answers.scores_of()[index],
            answers.scores_of(selected)[index],
            scoring,
        )
        (to_right if after[index] else to_wrong).append(flip)
    return _farthest(to_right, most), _farthest(to_wrong, most)


def _farthest(found: Sequence[Flip], most: int) -> Flips:
    ranked = sorted(found, key=lambda f: (-abs(f.margin_after - f.margin_before), f.item_id))
    return Flips(len(found), tuple(ranked[:most]))


def _flip(example: Example, before: np.ndarray, after: np.ndarray, scoring: Scoring) -> Flip:
    choices = tuple(
        Choice(
            letter=ascii_uppercase[i],
            text=text,
            role=example.roles[i] if example.roles else "",
            right=i == example.label,
            picked_before=i == int(np.argmax(before)),
            picked_after=i == int(np.argmax(after)),
            before=float(before[i]),
            after=float(after[i]),
        )
        for i, text in enumerate(example.choices)
    )
    return Flip(
        example.id,
        full_prompt(example, scoring).removeprefix(example.prefix),
        bool(example.prefix),
        choices,
        margin(before.tolist(), example.label),
        margin(after.tolist(), example.label),
    )
