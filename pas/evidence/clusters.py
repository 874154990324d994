"""The gain with groups of like items as the independent units."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from pas.evidence.paired import BOOTSTRAP_RESAMPLES
from pas.evidence.seeds import NO_SPREAD, finite

# Cluster-robust tests reject too often below some ten clusters, whatever the reference
# distribution (Cameron, Gelbach & Miller 2008, Rev. Econ. Stat. 90(3)).
FEW_GROUPS = 10


@dataclass(frozen=True)
class ClusteredInterval:
    """The mean paired difference where items of a group are alike.

    Attributes:
        n: Items.
        n_groups: Groups, the independent units.
        mean: Mean difference over items, in accuracy.
        ci_low: Lower end of the 95 % cluster bootstrap interval.
        ci_high: Upper end.
        standard_error: Cluster-robust.
        p_value: Two-sided, t on n_groups - 1 degrees of freedom.
        note: Why a field is None, or that the groups are few, or empty.
    """

    n: int
    n_groups: int
    mean: float
    ci_low: float | None
    ci_high: float | None
    standard_error: float | None
    p_value: float | None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


def clustered_interval(
    differences: Sequence[float], groups: Sequence[Any], seed: int = 0
) -> ClusteredInterval:
    """Resample whole groups, and test with a variance that allows any likeness within them.

    Args:
        differences: For each item, steered minus baseline: -1, 0 or 1 for right answers.
        groups: For each item, what it shares with others (`Example.group`).
        seed: Of the resampling.

    Raises:
        ValueError: If the lengths differ, there is no item or a value is not finite.
    """
    values = finite(differences)
    if len(groups) != len(values):
        raise ValueError("clustered_interval needs a group for each difference")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    codes = np.array([number[group] for group in groups])
    n, n_groups, mean = len(values), len(number), float(values.mean())
    if n_groups < 2:
        note = "one group says nothing about how far groups vary"
        return ClusteredInterval(n, n_groups, mean, None, None, None, None, note)
    if np.ptp(values) == 0:
        p_value = None if mean else 1.0
        return ClusteredInterval(n, n_groups, mean, mean, mean, 0.0, p_value, NO_SPREAD)

    found = stats.bootstrap(
        (np.bincount(codes, weights=values), np.bincount(codes)),
        _ratio_of_sums,
        paired=True,
        n_resamples=BOOTSTRAP_RESAMPLES,
        method="percentile",
        vectorized=True,
        batch=1000,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    # The sandwich estimator of a mean with whole groups as units, times G / (G - 1): what
    # statsmodels gives for a regression on a constant with cov_type="cluster".
    residuals = np.bincount(codes, weights=values - mean)
    error = float(np.sqrt(n_groups / (n_groups - 1) * np.square(residuals).sum()) / n)
    if error <= 1e-12:  # every group has the same mean
        error, p_value = 0.0, None if abs(mean) > 1e-12 else 1.0
        note = "the groups' means are all the same, so nothing says how far they vary"
    else:
        few = f"{n_groups} groups are few: below {FEW_GROUPS} the p-value is too small"
        p_value = float(2 * stats.t.sf(abs(mean) / error, n_groups - 1))
        note = few if n_groups < FEW_GROUPS else ""
    return ClusteredInterval(
        n, n_groups, mean, float(found.low), float(found.high), error, p_value, note
    )


def _ratio_of_sums(sums: np.ndarray, sizes: np.ndarray, axis: int) -> np.ndarray:
    total: np.ndarray = sums.sum(axis=axis) / sizes.sum(axis=axis)
    return total
