"""The gain with groups of similar items as the independent units.

docs/method.md, "Groups of items".
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from pas.evidence.paired import BOOTSTRAP_RESAMPLES
from pas.evidence.seeds import NO_SPREAD, finite

# With fewer than about ten clusters, cluster-robust tests reject too often with any reference
# distribution (Cameron, Gelbach & Miller 2008, Rev. Econ. Stat. 90(3)).
FEW_GROUPS = 10


@dataclass(frozen=True)
class ClusteredInterval:
    """The mean paired difference, with groups as the independent units.

    Attributes:
        n: Number of items.
        n_groups: Number of groups.
        mean: Mean difference over items, in accuracy.
        ci_low: Lower end of the 95 % cluster bootstrap interval.
        ci_high: Upper end of that interval.
        standard_error: Cluster-robust standard error of the mean.
        p_value: Two-sided, from a t distribution on n_groups - 1 degrees of freedom.
        note: The reason why a field is None, or a warning about few groups; otherwise empty.
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
    """Return a bootstrap interval over whole groups and a cluster-robust t-test.

    Args:
        differences: [n_items], steered minus baseline of each item: -1, 0 or 1 for correct answers.
        groups: [n_items], the group of each item (`Example.group`).
        seed: Seed of the resampling.

    Raises:
        ValueError: If the lengths differ, there are no items or a value is not finite.
    """
    values = finite(differences)
    if len(groups) != len(values):
        raise ValueError("clustered_interval needs a group for each difference")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    codes = np.array([number[group] for group in groups])
    n, n_groups, mean = len(values), len(number), float(values.mean())
    if n_groups < 2:
        note = "with one group, the variation between groups is unknown"
        return ClusteredInterval(n, n_groups, mean, None, None, None, None, note)
    if np.ptp(values) == 0:
        p_value = None if mean else 1.0
        return ClusteredInterval(n, n_groups, mean, mean, mean, 0.0, p_value, NO_SPREAD)

    interval = stats.bootstrap(
        (np.bincount(codes, weights=values), np.bincount(codes)),
        _ratio_of_sums,
        paired=True,
        n_resamples=BOOTSTRAP_RESAMPLES,
        method="percentile",
        vectorized=True,
        batch=1000,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    # The sandwich estimator of a mean with whole groups as units, times G / (G - 1). statsmodels
    # gives the same for a regression on a constant with cov_type="cluster".
    residuals = np.bincount(codes, weights=values - mean)
    error = float(np.sqrt(n_groups / (n_groups - 1) * np.square(residuals).sum()) / n)
    if error <= 1e-12:  # every group has the same mean
        error, p_value = 0.0, None if abs(mean) > 1e-12 else 1.0
        note = "the groups' means are all the same, so their variation is unknown"
    else:
        few = f"with {n_groups} groups, fewer than {FEW_GROUPS}, the p-value is too small"
        p_value = float(2 * stats.t.sf(abs(mean) / error, n_groups - 1))
        note = few if n_groups < FEW_GROUPS else ""
    return ClusteredInterval(
        n, n_groups, mean, float(interval.low), float(interval.high), error, p_value, note
    )


def _ratio_of_sums(sums: np.ndarray, sizes: np.ndarray, axis: int) -> np.ndarray:
    total: np.ndarray = sums.sum(axis=axis) / sizes.sum(axis=axis)
    return total
