"""From the scores of an item's choices to the answer.

docs/method.md, "Prompt and scoring". The answer is the choice with the highest score. Two cases
need a rule: scores that are exactly equal, which 16 bits make common, and scores that are not
finite, because the model overflowed.
"""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pas.errors import UserError

Ties = Literal["even", "first"]
"""Of equally high scores, "first" takes the first one, as the paper does. "even" draws one by the
item's id, so that no position in the list is preferred and every run draws the same."""

UNDECIDED = -1
"""The answer to an item if a score is not finite. It equals no label, so it is wrong."""


def decide(
    scores: Sequence[np.ndarray], item_ids: Sequence[str], ties: Ties = "even"
) -> np.ndarray:
    """Return the answer to each item.

    Args:
        scores: For each item [n_choices], in log units.
        item_ids: Ids of the items.
        ties: Which one of equally high scores is taken.

    Returns:
        [n_items] int64, index of the chosen choice, or `UNDECIDED`.
    """
    top, finite = _highest(scores)
    answers = top.argmax(axis=1)
    if ties == "even":
        for row in np.flatnonzero(top.sum(axis=1) > 1).tolist():
            draw = random.Random(f"tie:{item_ids[row]}")
            answers[row] = draw.choice(np.flatnonzero(top[row]).tolist())
    answers[~finite] = UNDECIDED
    return np.asarray(answers, np.int64)


def tied(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return which items have several choices with the highest score: [n_items] bool.

    Args:
        scores: For each item [n_choices], in log units.
    """
    top, finite = _highest(scores)
    return np.asarray((top.sum(axis=1) > 1) & finite)


def not_finite(what: str) -> UserError:
    """Return the error for numbers of the unsteered model that are not finite.

    Args:
        what: The numbers and their place, in the plural.
    """
    return UserError(
        f"{what} are not finite: the model overflows in its dtype. Load it with dtype bfloat16 or "
        "float32."
    )


def _highest(scores: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return which choices have the highest score, and which items have finite scores alone.

    The shapes are [n_items, most choices] and [n_items], bool.
    """
    lengths = np.array([len(item) for item in scores], np.int64)
    real = np.arange(lengths.max(initial=1)) < lengths[:, None]
    table = np.full(real.shape, -np.inf)
    if len(scores):
        table[real] = np.concatenate([np.asarray(item, np.float64) for item in scores])
    top = table == table.max(axis=1, keepdims=True)
    return top, np.isfinite(table).all(axis=1, where=real)
