"""Letters: how often each is answered, and what always giving one letter would score."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def position_counts(picks: Sequence[int], n_choices: int) -> list[int]:
    """Count how often each shown position (letter) was picked: [n_choices]."""
    counts = Counter(picks)
    return [counts[i] for i in range(n_choices)]


def best_constant(labels: Sequence[int]) -> tuple[int, float]:
    """Return the position that is right most often, and the accuracy of always picking it."""
    position, hits = min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    return position, hits / len(labels)


def outside_share(scores: Sequence[np.ndarray] | np.ndarray) -> float:
    """Return the share of the next token's probability outside the letters, mean over items.

    Args:
        scores: For each item [n_choices], log-probabilities of the letters over the whole
            vocabulary, see `pas.engine.sweep.score_rows` with `normalise=True`.

    Raises:
        ValueError: If there is no item, or the scores are no log-probabilities.
    """
    inside = np.array([np.exp(np.asarray(item, np.float64)).sum() for item in scores])
    if not len(inside) or inside.max() > 1 + 1e-4:
        raise ValueError("the share outside the letters needs scores made with normalise=True")
    return float(1 - inside.clip(max=1).mean())
