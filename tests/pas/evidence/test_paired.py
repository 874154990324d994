"""Statistics against worked examples and literal computations."""

from math import comb

import numpy as np
import pytest

from pas.evidence.paired import compare, mcnemar, paired_interval


def literal_mcnemar(w2r: int, r2w: int) -> float:
    """Twice the lower binomial tail of the smaller discordant count, at most 1."""
    n = w2r + r2w
    tail = sum(comb(n, k) for k in range(min(w2r, r2w) + 1)) / 2**n
    return min(1.0, 2 * tail)


@pytest.mark.parametrize("w2r", [0, 1, 3, 8, 25, 60])
@pytest.mark.parametrize("r2w", [0, 1, 2, 9, 40])
def test_mcnemar_is_the_binomial_sum(w2r: int, r2w: int) -> None:
    assert mcnemar(w2r, r2w) == pytest.approx(literal_mcnemar(w2r, r2w), rel=1e-9)


def test_mcnemar_worked_example() -> None:
    assert mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 1024)
    assert mcnemar(0, 0) == 1.0


def test_the_interval_is_a_paired_bootstrap_over_items() -> None:
    rng = np.random.default_rng(4)
    differences = rng.choice([-1.0, 0.0, 1.0], size=120, p=[0.1, 0.6, 0.3])
    means = differences[rng.integers(0, 120, size=(20000, 120))].mean(axis=1)
    low, high = paired_interval(differences, seed=1)
    expected = np.percentile(means, [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.012)
    assert low < differences.mean() < high
    assert paired_interval(differences, seed=1) == (low, high)
    assert paired_interval(np.zeros(9)) == (0.0, 0.0)
    assert paired_interval(np.array([1.0])) == (1.0, 1.0)


def test_compare_counts_flips() -> None:
    before = [True, True, False, False, False, True, False, False]
    after = [True, False, True, True, True, True, False, True]
    found = compare(before, after)
    assert (found.n, found.w2r, found.r2w) == (8, 4, 1)
    assert (found.baseline_accuracy, found.steered_accuracy) == (3 / 8, 6 / 8)
    assert found.delta == pytest.approx(3 / 8)
    assert found.p_value == pytest.approx(literal_mcnemar(4, 1))
    assert found.ci_low <= found.delta <= found.ci_high
    assert found.as_dict()["w2r"] == 4
    for bad in (([], []), ([True], [True, False])):
        with pytest.raises(ValueError, match="same, non-empty"):
            compare(*bad)
