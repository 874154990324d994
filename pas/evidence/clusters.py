"""The gain with groups of similar items as the independent units.

docs/method.md, "Groups of items".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pas.evidence.seeds import finite

# With fewer than about ten clusters, cluster-robust tests reject too often with any reference
# distribution (Cameron, Gelbach & Miller 2008, Rev. Econ. Stat. 90(3)).
FEW_GROUPS = 10


@dataclass(frozen=True)
class ClusteredTest:
    """A test of the mean paired difference, with groups as the independent units.

    Attributes:
        n_groups: Number of groups.
        mean: Mean difference over items, in accuracy.
        p_value: Two-sided, from a t distribution on n_groups - 1 degrees of freedom. None if there
            is one group, or if the groups' means are all the same and not 0.
    """

    n_groups: int
    mean: float
    p_value: float | None


def clustered_test(differences: Sequence[float], groups: Sequence[Any]) -> ClusteredTest:
    """Return a cluster-robust t-test.

    Args:
        differences: [n_items], steered minus baseline of each item: -1, 0 or 1 for correct answers.
        groups: [n_items], the group of each item (`Example.group`).

    Raises:
        ValueError: If the lengths differ, there are no items or a value is not finite.
    """
    values = finite(differences)
    if len(groups) != len(values):
        raise ValueError("clustered_test needs a group for each difference")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    n_groups, mean = len(number), float(values.mean())
    if n_groups < 2:
        return ClusteredTest(n_groups, mean, None)
    # The sandwich estimator of a mean with whole groups as units, times G / (G - 1). statsmodels
    # gives the same for a regression on a constant with cov_type="cluster".
    codes = np.array([number[group] for group in groups])
    residuals = np.bincount(codes, weights=values - mean)
    error = np.sqrt(n_groups / (n_groups - 1) * np.square(residuals).sum()) / len(values)
    if error <= 1e-12:  # every group has the same mean
        return ClusteredTest(n_groups, mean, None if abs(mean) > 1e-12 else 1.0)
    from scipy import stats

    return ClusteredTest(n_groups, mean, float(2 * stats.t.sf(abs(mean) / error, n_groups - 1)))
