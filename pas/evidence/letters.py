"""The accuracy of always giving the same letter, and what is said besides letters.

docs/method.md, "Controls".
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def best_constant(labels: Sequence[int]) -> tuple[int, float]:
    """Return the letter that is correct most often, and the accuracy of always giving it.

    Args:
        labels: Index of the correct choice of each item, in the order shown; at least one item.
    """
    position, hits = min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    return position, hits / len(labels)


def outside_share(scores: Sequence[np.ndarray] | np.ndarray) -> float:
    """Return the share of the next token's probability outside the letters, the mean over items.

    Args:
        scores: For each item [n_choices], log-probabilities of the letters over the whole
            vocabulary, see `pas.engine.sweep.score_rows` with `normalise=True`. If they are not
            finite, there is no letter, and the whole probability is outside.

    Raises:
        ValueError: If there are no items, or the scores are not log-probabilities.
    """
    inside = np.array([np.exp(np.asarray(item, np.float64)).sum() for item in scores])
    inside[~np.isfinite(inside)] = 0.0
    if not len(inside) or inside.max() > 1 + 1e-4:
        raise ValueError("the share outside the letters needs scores made with normalise=True")
    return float(1 - inside.clip(max=1).mean())
