"""Comparison of steered and unsteered answers to the same items.

docs/method.md, "The comparison". The exact McNemar test is scipy's binomial test on the discordant
pairs, and the interval is scipy's paired percentile bootstrap over items.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BOOTSTRAP_RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """Comparison of steered and unsteered answers to the same items.

    Attributes:
        n: Number of items.
        baseline_accuracy: Accuracy of the unsteered answers.
        steered_accuracy: Accuracy of the steered answers.
        delta: Steered minus unsteered accuracy.
        ci_low: Lower end of the 95 % interval of delta.
        ci_high: Upper end of that interval.
        p_value: Two-sided p-value of the exact McNemar test.
        w2r: Number of items that changed from wrong to right.
        r2w: Number of items that changed from right to wrong.
    """

    n: int
    baseline_accuracy: float
    steered_accuracy: float
    delta: float
    ci_low: float
    ci_high: float
    p_value: float
    w2r: int
    r2w: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


def compare(
    baseline: Sequence[bool] | np.ndarray, steered: Sequence[bool] | np.ndarray, seed: int = 0
) -> Comparison:
    """Compare two sets of answers to the same items.

    Args:
        baseline: [n_items] bool, whether the unsteered answer is correct.
        steered: [n_items] bool, whether the steered answer is correct.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If the lengths differ or there are no items.
    """
    before, after = np.asarray(baseline, dtype=bool), np.asarray(steered, dtype=bool)
    if before.shape != after.shape or not before.size:
        raise ValueError("compare needs the same, non-empty items on both sides")
    w2r, r2w = int((~before & after).sum()), int((before & ~after).sum())
    low, high = paired_interval(after.astype(float) - before.astype(float), seed)
    return Comparison(
        n=before.size,
        baseline_accuracy=float(before.mean()),
        steered_accuracy=float(after.mean()),
        delta=float(after.mean() - before.mean()),
        ci_low=low,
        ci_high=high,
        p_value=mcnemar(w2r, r2w),
        w2r=w2r,
        r2w=r2w,
    )


def mcnemar(w2r: int, r2w: int) -> float:
    """Return the two-sided p-value of the exact McNemar test.

    Args:
        w2r: Number of items that changed from wrong to right.
        r2w: Number of items that changed from right to wrong.
    """
    if not w2r + r2w:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(w2r, w2r + r2w, 0.5).pvalue)


def paired_interval(differences: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean difference.

    Args:
        differences: [n_items] float64, steered minus baseline of each item.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end; both are the mean if all differences are equal.
    """
    if np.ptp(differences) == 0 or len(differences) < 2:
        mean = float(differences.mean())
        return mean, mean
    from scipy import stats

    interval = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
        vectorized=True,
        batch=1000,
    ).confidence_interval
    return float(interval.low), float(interval.high)
