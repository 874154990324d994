"""The test over groups of items against scipy and a formula written out."""

import warnings

import numpy as np
import pytest
from scipy import stats

from pas.evidence.clusters import clustered_test


def grouped(n_groups: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    lean = rng.uniform(-0.4, 0.7, n_groups)[groups]
    return np.sign(lean + rng.normal(0, 0.4, len(groups))) * (rng.random(len(groups)) < 0.6), groups


def test_the_robust_test_is_the_sandwich_of_group_sums() -> None:
    differences, groups = grouped(14)
    found = clustered_test(differences, [f"template {g}" for g in groups])
    n, k = len(differences), 14
    scores = [np.sum(differences[groups == g] - differences.mean()) for g in range(k)]
    error = np.sqrt(np.sum(np.square(scores)) * k / (k - 1)) / n
    assert (found.n_groups, found.mean) == (k, pytest.approx(differences.mean()))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.mean) / error, k - 1), rel=1e-9)


def test_groups_of_one_give_the_ordinary_t_test() -> None:
    differences = [1.0, 0.0, 0.0, -1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    found = clustered_test(differences, range(12))
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    twice = clustered_test(differences * 2, list(range(12)) * 2)  # siblings add no evidence
    assert twice.p_value == pytest.approx(found.p_value, rel=0.03)


@pytest.mark.parametrize(
    ("differences", "groups", "p_value"),
    [
        ([1, 0, 1], "aaa", None),
        ([1, 1, 1], "abb", None),
        ([0, 0, 0], "abb", 1.0),
        ([1, -1, 1, -1], "aabb", 1.0),
        ([1, 0, 1, 0], "aabb", None),
    ],
)
def test_groups_without_spread_have_no_p_value_for_a_gain(
    differences: list[float], groups: str, p_value: float | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clustered_test(differences, list(groups)).p_value == p_value


def test_groups_must_fit() -> None:
    with pytest.raises(ValueError, match="a group for each"):
        clustered_test([1.0], [])
