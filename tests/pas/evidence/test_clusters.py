"""Tests over groups of items against scipy and a bootstrap written out."""

import warnings

import numpy as np
import pytest
from scipy import stats

from pas.evidence.clusters import FEW_GROUPS, clustered_interval


def grouped(n_groups: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    lean = rng.uniform(-0.4, 0.7, n_groups)[groups]
    return np.sign(lean + rng.normal(0, 0.4, len(groups))) * (rng.random(len(groups)) < 0.6), groups


def test_the_robust_test_is_the_sandwich_of_group_sums() -> None:
    differences, groups = grouped(14)
    found = clustered_interval(differences, groups)
    n, k = len(differences), 14
    scores = [np.sum(differences[groups == g] - differences.mean()) for g in range(k)]
    error = np.sqrt(np.sum(np.square(scores)) * k / (k - 1)) / n
    assert (found.n, found.n_groups, found.note) == (n, k, "")
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.mean) / error, k - 1), rel=1e-9)


def test_the_cluster_bootstrap_resamples_whole_groups() -> None:
    differences, groups = grouped(14)
    found = clustered_interval(differences, [f"template {g}" for g in groups], seed=2)
    rng = np.random.default_rng(8)
    members = [differences[groups == g] for g in range(14)]
    means = [
        np.concatenate([members[i] for i in rng.integers(0, 14, 14)]).mean() for _ in range(6000)
    ]
    assert (found.ci_low, found.ci_high) == pytest.approx(
        tuple(np.percentile(means, [2.5, 97.5])), abs=0.015
    )
    assert found == clustered_interval(differences, [f"template {g}" for g in groups], seed=2)


def test_groups_of_one_give_the_ordinary_t_test() -> None:
    differences = [1.0, 0.0, 0.0, -1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    found = clustered_interval(differences, range(12))
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    twice = clustered_interval(differences * 2, list(range(12)) * 2)  # siblings add no evidence
    assert twice.p_value == pytest.approx(found.p_value, rel=0.03)


@pytest.mark.parametrize(
    ("differences", "groups", "interval", "p_value", "note"),
    [
        ([1, 0, 1], "aaa", None, None, "one group"),
        ([1, 1, 1], "abb", (1, 1), None, "the same"),
        ([0, 0, 0], "abb", (0, 0), 1.0, "the same"),
        ([1, -1, 1, -1], "aabb", (0, 0), 1.0, "the same"),
        ([1, 0, 1, 0], "aabb", (0.5, 0.5), None, "the same"),
    ],
)
def test_groups_without_spread_say_so(
    differences: list[float], groups: str, interval: tuple[float, float] | None,
    p_value: float | None, note: str,
) -> None:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = clustered_interval(differences, list(groups))
    assert (found.p_value, note in found.note) == (p_value, True)
    ends = None if found.ci_low is None else (found.ci_low, found.ci_high)
    assert ends == (interval and pytest.approx(interval))


@pytest.mark.parametrize(("n_groups", "few"), [(FEW_GROUPS - 1, True), (FEW_GROUPS, False)])
def test_few_groups_are_named(n_groups: int, few: bool) -> None:
    assert ("few" in clustered_interval(*grouped(n_groups)).note) is few


def test_groups_must_fit() -> None:
    with pytest.raises(ValueError, match="a group for each"):
        clustered_interval([1.0], [])
