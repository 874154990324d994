"""Tests over seeds against scipy and statsmodels called in another way."""

import gc
import warnings
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from pas.evidence.seeds import adjust, paired_t

BEFORE = [0.62, 0.60, 0.65, 0.61, 0.66, 0.63, 0.59]


AFTER = [0.70, 0.66, 0.71, 0.73, 0.70, 0.72, 0.64]


@pytest.fixture(scope="module", autouse=True)
def _spared_heap() -> None:
    """Spare the collector what earlier tests left: statsmodels collects on every correction."""
    gc.collect()
    gc.freeze()


def noncentrality(t: float, df: int, probability: float) -> float:
    """The noncentrality whose distribution has the observed t at this percentile."""
    return optimize.brentq(lambda nc: stats.nct.cdf(t, df, nc) - probability, -1, 20)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_paired_t_is_a_one_sample_test_of_the_differences(alternative: str) -> None:
    from statsmodels.stats.weightstats import DescrStatsW

    found = paired_t(BEFORE, AFTER, alternative)
    differences = DescrStatsW(np.subtract(AFTER, BEFORE))
    sides = {"greater": "larger", "less": "smaller", "two-sided": "two-sided"}
    t, p, df = differences.ttest_mean(0, alternative=sides[alternative])
    assert (found.n, df) == (7, 6)
    assert (found.t, found.p_value) == pytest.approx((t, p))
    assert (found.ci_low, found.ci_high) == pytest.approx(differences.tconfint_mean(0.05))
    assert found.effect == pytest.approx(differences.mean / np.std(differences.data, ddof=1))
    scale = np.sqrt(7)
    assert found.effect_low == pytest.approx(noncentrality(t, 6, 0.975) / scale, rel=1e-5)
    assert found.effect_high == pytest.approx(noncentrality(t, 6, 0.025) / scale, rel=1e-5)


def test_paired_t_worked_example() -> None:
    # Student 1908, Biometrika 6:1-25 (Cushny and Peebles): hours of sleep gained with two drugs;
    # mean difference 1.58, t = 4.0621 on 9, two-sided p = 0.00283 (R's help of `sleep`).
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_t(first, second, "two-sided")
    assert found.mean == pytest.approx(1.58)
    assert found.t == pytest.approx(4.0621, abs=5e-5)
    assert found.p_value == pytest.approx(0.00283, abs=5e-6)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "mean", "interval", "p_value"),
    [
        ([0.5], [0.6], 0.1, None, None),
        ([0.5], [0.5], 0.0, None, 1.0),
        ([0.6, 0.5, 0.3], [0.7, 0.6, 0.4], 0.1, 0.1, None),  # the floats differ by rounding
        ([0.6, 0.5], [0.6, 0.5], 0.0, 0.0, 1.0),
    ],
)
def test_paired_t_without_spread_says_so(
    before: list[float], after: list[float], mean: float, interval: float | None,
    p_value: float | None,
) -> None:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_t(before, after)
    assert found.mean == pytest.approx(mean)
    assert found.ci_low == found.ci_high == (None if interval is None else pytest.approx(interval))
    assert found.p_value == p_value
    assert found.t is found.effect is found.effect_low is found.effect_high is None
    assert found.note


def test_paired_t_refuses_what_it_cannot_pair() -> None:
    with pytest.raises(ValueError, match="for each baseline"):
        paired_t([0.1, 0.2], [0.1])
    for bad in ([], [float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="finite"):
            paired_t(bad, bad)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 800), st.integers(0, 800)), min_size=1, max_size=20))
def test_paired_t_never_gives_a_nan_or_a_warning(counts: list[tuple[int, int]]) -> None:
    before, after = ([c / 800 for c in side] for side in zip(*counts, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_t(before, after)
    numbers = [v for v in astuple(found) if isinstance(v, float)]
    assert np.isfinite(numbers).all()
    assert bool(found.note) == any(v is None for v in astuple(found))
    if found.t is not None:
        assert found.ci_low < found.mean < found.ci_high
        other = paired_t(after, before, "less")
        assert other.p_value == pytest.approx(found.p_value, rel=1e-6, abs=1e-12)
        if found.effect_low is not None:
            assert found.effect_low < found.effect < found.effect_high


def test_adjusted_p_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.2]
    # Holm by hand: sorted .005 .01 .03 .04 .2 times 5 4 3 2 1, never decreasing.
    assert adjust(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])
    assert adjust([]) == []
    for bad in ([1.1], [float("nan")]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            adjust(bad)


def test_a_published_example_of_holms_method() -> None:
    # Benjamini & Hochberg 1995, JRSS B 57:289-300, section 3.2: three claims at alpha = .05.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
         0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip
    assert sum(q <= 0.05 for q in adjust(p)) == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusting_keeps_the_order_and_never_helps(p: list[float]) -> None:
    found = adjust(p)
    assert all(q >= before - 1e-12 for q, before in zip(found, p, strict=True))
    ranked = [q for _, q in sorted(zip(p, found, strict=True))]
    assert all(a <= b + 1e-12 for a, b in pairwise(ranked))
