"""Contrast sets: the texts that each estimator averages over.

docs/method.md, "Contrast sets" (arXiv 2509.22739). A vector is the mean activation of the positives
minus the mean activation of the negatives, so an estimator only has to choose texts. To add an
estimator, write a function from answered items to a `ContrastSet` and add it to `METHODS`.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pas.data.chat import Chat
from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import Scoring, full_prompt, statement
from pas.errors import UserError

RANDOM = "random"


class ContrastSet(NamedTuple):
    """The texts whose last-token activations are averaged.

    Attributes:
        positives: Texts whose mean is added. A text that is listed twice counts twice.
        negatives: Texts whose mean is subtracted.
    """

    positives: list[str]
    negatives: list[str]


Estimator = Callable[[Sequence[ItemAnswer], Scoring, Chat | None], ContrastSet]


def pasf(items: Sequence[ItemAnswer], scoring: Scoring, chat: Chat | None) -> ContrastSet:
    """Contrast the full prompts answered correctly with those answered wrongly."""
    prompts = [(full_prompt(item.example, scoring, chat), item.correct) for item in items]
    return ContrastSet([p for p, ok in prompts if ok], [p for p, ok in prompts if not ok])


def ipasa(items: Sequence[ItemAnswer], scoring: Scoring, chat: Chat | None) -> ContrastSet:
    """Contrast correct statements of right answers with chosen statements of wrong answers."""
    del scoring
    return ContrastSet(
        [statement(i.example, i.example.label, chat) for i in items if i.correct],
        [statement(i.example, i.choice, chat) for i in items if not i.correct],
    )


def ipaswo(items: Sequence[ItemAnswer], scoring: Scoring, chat: Chat | None) -> ContrastSet:
    """Contrast the correct and the chosen statements of the items answered wrongly."""
    del scoring
    wrong = [item for item in items if not item.correct]
    return ContrastSet(
        [statement(i.example, i.example.label, chat) for i in wrong],
        [statement(i.example, i.choice, chat) for i in wrong],
    )


def caa(items: Sequence[ItemAnswer], scoring: Scoring, chat: Chat | None) -> ContrastSet:
    """Contrast the correct and one wrong statement of every item (CAA, arXiv 2312.06681).

    The model's answers are not used. The wrong choice is drawn by the item's id alone, so every
    seed needs the same activations.
    """
    del scoring
    return ContrastSet(
        [statement(i.example, i.example.label, chat) for i in items],
        [statement(i.example, _wrong_choice(i.example), chat) for i in items],
    )


def _wrong_choice(example: Example) -> int:
    positions = example.positions or tuple(range(len(example.choices)))
    correct = positions[example.label]
    wrong = [position for position in sorted(positions) if position != correct]
    drawn = random.Random(f"caa:{example.id}").choice(wrong)
    return positions.index(drawn)


METHODS: dict[str, Estimator] = {"pasf": pasf, "ipasa": ipasa, "ipaswo": ipaswo, "caa": caa}


def contrast_sets(
    methods: Sequence[str],
    items: Sequence[ItemAnswer],
    scoring: Scoring,
    chat: Chat | None = None,
) -> dict[str, ContrastSet]:
    """Build the contrast set of every method. The random control has none.

    A method is left out if one side of its contrast is empty, for example if the model answers
    every training item correctly.

    Args:
        methods: Names of `METHODS`, and "random".
        items: The training items and the model's answers.
        scoring: "letter" or "choice", for the form of full prompts.
        chat: The chat template; None for plain text.

    Raises:
        UserError: If a method is unknown, or no method has a contrast.
    """
    sets = {}
    for method in methods:
        if method == RANDOM:
            continue
        if method not in METHODS:
            known = ", ".join([*METHODS, RANDOM])
            raise UserError(f"methods (--methods): {method!r} is not one of {known}")
        contrast = METHODS[method](items, scoring, chat)
        if all(contrast):
            sets[method] = contrast
    if not sets:
        right = sum(item.correct for item in items)
        side = "negative" if right == len(items) else "positive"
        names = ", ".join(method for method in methods if method != RANDOM)
        raise UserError(
            f"methods (--methods): {names}: no {side} example, because the model answered {right} "
            f"of {len(items)} training items correctly. Give more or other items, or use "
            "the method caa, which does not depend on the answers."
        )
    return sets


def possible_texts(
    methods: Sequence[str], example: Example, scoring: Scoring, chat: Chat | None = None
) -> dict[str, None]:
    """Return every text of an item that a method could average over, for any answer.

    These texts are known before the model has answered, so answers and activations come from one
    pass, and a training with another seed can reuse the activations.

    Args:
        methods: Names of `METHODS`, and "random".
        example: The item.
        scoring: "letter" or "choice", for the form of full prompts.
        chat: The chat template; None for plain text.

    Returns:
        The distinct texts, in a fixed order, as the keys of a dict.
    """
    distinct: dict[str, None] = {}
    for choice in range(len(example.choices)):
        for method in methods:
            if method != RANDOM:
                for texts in METHODS[method]([ItemAnswer(example, choice)], scoring, chat):
                    distinct |= dict.fromkeys(texts)
    return distinct


def random_direction(d_model: int, norm: float, seed: int | str) -> np.ndarray:
    """Draw a direction uniformly and scale it.

    Args:
        d_model: Number of dimensions.
        norm: L2 norm of the result; a negative norm reverses the direction.
        seed: Seed of the draw.

    Returns:
        [d_model] float32 of L2 norm `norm`.
    """
    rng = np.random.default_rng(list(str(seed).encode()))
    direction = rng.standard_normal(d_model)
    return (direction * (norm / np.linalg.norm(direction))).astype(np.float32)
