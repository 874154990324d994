"""Contrast sets: which texts get which weight in each estimator.

METHOD.md, "Contrast sets". A vector is mean(activation of positives) - mean(activation of
negatives), so an estimator is no more than a choice of texts. To add one, write a function from
answered items to a `ContrastSet` and name it in `METHODS`.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import Scoring, full_prompt, statement
from pas.errors import UserError

RANDOM = "random"


class ContrastSet(NamedTuple):
    """Texts whose last-token activations are averaged; a text listed twice counts twice."""

    positives: list[str]
    negatives: list[str]


Estimator = Callable[[Sequence[ItemAnswer], Scoring], ContrastSet]


def pasf(items: Sequence[ItemAnswer], scoring: Scoring) -> ContrastSet:
    """Full prompts answered correctly against full prompts answered wrongly."""
    prompts = [(full_prompt(item.example, scoring), item.correct) for item in items]
    return ContrastSet([p for p, ok in prompts if ok], [p for p, ok in prompts if not ok])


def ipasa(items: Sequence[ItemAnswer], scoring: Scoring) -> ContrastSet:
    """Correct statements of right items against the picked statements of wrong items."""
    del scoring
    return ContrastSet(
        [statement(i.example, i.example.label) for i in items if i.correct],
        [statement(i.example, i.choice) for i in items if not i.correct],
    )


def ipaswo(items: Sequence[ItemAnswer], scoring: Scoring) -> ContrastSet:
    """Correct against picked statements, both of the wrongly answered items only."""
    del scoring
    wrong = [item for item in items if not item.correct]
    return ContrastSet(
        [statement(i.example, i.example.label) for i in wrong],
        [statement(i.example, i.choice) for i in wrong],
    )


def caa(items: Sequence[ItemAnswer], scoring: Scoring) -> ContrastSet:
    """Correct against one wrong statement of every item, whatever the model answered.

    The wrong choice is drawn by the item's id alone, so every seed reads the same activations.
    """
    del scoring
    return ContrastSet(
        [statement(i.example, i.example.label) for i in items],
        [statement(i.example, _wrong_choice(i.example)) for i in items],
    )


def _wrong_choice(example: Example) -> int:
    positions = example.positions or tuple(range(len(example.choices)))
    correct = positions[example.label]
    wrong = [position for position in sorted(positions) if position != correct]
    drawn = random.Random(f"caa:{example.id}").choice(wrong)
    return positions.index(drawn)


METHODS: dict[str, Estimator] = {"pasf": pasf, "ipasa": ipasa, "ipaswo": ipaswo, "caa": caa}


def contrast_sets(
    methods: Sequence[str], items: Sequence[ItemAnswer], scoring: Scoring
) -> dict[str, ContrastSet]:
    """Build the contrast set of every method that has one; the random control needs none.

    A method is left out where one side of its contrast would be empty, as where the model answers
    every training item rightly; the others go on.

    Raises:
        UserError: If a method is unknown, or none is left.
    """
    sets = {}
    for method in methods:
        if method == RANDOM:
            continue
        if method not in METHODS:
            known = ", ".join([*METHODS, RANDOM])
            raise UserError(f"--methods: {method!r} is none of {known}")
        found = METHODS[method](items, scoring)
        if all(found):
            sets[method] = found
    if not sets:
        right = sum(item.correct for item in items)
        side = "negative" if right == len(items) else "positive"
        asked = ", ".join(method for method in methods if method != RANDOM)
        raise UserError(
            f"--methods: {asked}: no {side} example, the model answered {right} of {len(items)} "
            "training items correctly. Give more or other items, or take --methods caa, which "
            "needs no right and wrong answers."
        )
    return sets


def possible_texts(methods: Sequence[str], example: Example, scoring: Scoring) -> dict[str, None]:
    """Return every text of an item that a method could average over, whatever the answer.

    Known before the model has answered, so answers and activations come from one pass, and
    another seed finds them all.
    """
    found: dict[str, None] = {}
    for choice in range(len(example.choices)):
        for method in methods:
            if method != RANDOM:
                for texts in METHODS[method]([ItemAnswer(example, choice)], scoring):
                    found |= dict.fromkeys(texts)
    return found


def random_direction(d_model: int, norm: float, seed: int | str) -> np.ndarray:
    """Draw a direction uniformly and scale it.

    Returns:
        [d_model] float32 of L2 norm `norm`.
    """
    rng = np.random.default_rng(list(str(seed).encode()))
    direction = rng.standard_normal(d_model)
    return (direction * (norm / np.linalg.norm(direction))).astype(np.float32)
