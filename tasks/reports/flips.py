"""The test items whose answers steering turned: which, and how far the scores moved."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pas.data.examples import Example
from pas.data.prompts import Scoring, full_prompt
from pas.engine.scoring import margin
from pas.methods.answers import Answers
from pas.methods.grid import Configuration


class Flip(NamedTuple):
    """A flipped item. What is unsteered comes first in each pair, what is steered second.

    Attributes:
        example: The item.
        prompt: What the model reads, without worked examples before it.
        scores: [n_choices] float64 each, in log units.
        picked: Index of the choice that is answered.
    """

    example: Example
    prompt: str
    scores: tuple[np.ndarray, np.ndarray]
    picked: tuple[int, int]

    @property
    def margins(self) -> tuple[float, float]:
        """Score of the right choice minus the best other one, in log units."""
        before, after = (margin(scores.tolist(), self.example.label) for scores in self.scores)
        return before, after


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
    picked = answers.choices(), answers.choices(selected)
    before, after = answers.correct(), answers.correct(selected)
    for i in (before != after).nonzero()[0]:
        flip = Flip(
            test[i],
            full_prompt(test[i], scoring).removeprefix(test[i].prefix),
            (answers.scores_of()[i], answers.scores_of(selected)[i]),
            (int(picked[0][i]), int(picked[1][i])),
        )
        (to_right if after[i] else to_wrong).append(flip)
    return _farthest(to_right, most), _farthest(to_wrong, most)


def _farthest(found: Sequence[Flip], most: int) -> Flips:
    def rank(flip: Flip) -> tuple[float, str]:
        before, after = flip.margins
        return -abs(after - before), flip.example.id

    return Flips(len(found), tuple(sorted(found, key=rank)[:most]))
