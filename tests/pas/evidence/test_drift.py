"""Drift: the tests against literal sums, and what is decided when."""

from dataclasses import replace
from math import comb, sqrt

import numpy as np
import pytest

from pas.evidence.drift import ALPHA, MIN_ITEMS, Drift, accuracy_interval, drift
from pas.evidence.paired import Comparison, compare


def comparison(n: int, right: int, w2r: int = 0, r2w: int = 0) -> Comparison:
    """Of n items `right` are right when steered, after these flips."""
    after = np.arange(n) < right
    before = after.copy()
    before[:w2r] = False
    before[n - r2w :] = True
    made = compare(before, after)
    assert (made.w2r, made.r2w, made.n) == (w2r, r2w, n)
    return made


def literal_fall(fresh: Comparison, before: Comparison) -> float:
    """The hypergeometric chance of as few right among the fresh items, all right ones given."""
    right, n = (round(c.steered_accuracy * c.n) for c in (fresh, before)), fresh.n + before.n
    few, many = right
    return sum(
        comb(few + many, k) * comb(n - few - many, fresh.n - k) for k in range(few + 1)
    ) / comb(n, fresh.n)


@pytest.mark.parametrize("right", [20, 41, 55, 60])
@pytest.mark.parametrize(("w2r", "r2w"), [(0, 0), (2, 0), (3, 5), (0, 5)])
def test_the_tests_are_the_literal_sums(right: int, w2r: int, r2w: int) -> None:
    before, fresh = comparison(90, 70, 12), comparison(65, right, w2r, r2w)
    found = drift(before, fresh)
    assert found.p_fall == pytest.approx(literal_fall(fresh, before), rel=1e-9)
    tail = sum(comb(w2r + r2w, k) for k in range(w2r + 1)) / 2 ** (w2r + r2w)
    assert found.p_harm == pytest.approx(tail, rel=1e-9)


def test_wilsons_interval_is_the_formula() -> None:
    z, n, p = 1.959964, 80, 0.7
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert accuracy_interval(p, n) == pytest.approx((middle - half, middle + half), rel=1e-6)
    assert accuracy_interval(1.0, 10)[1] == pytest.approx(1)


def test_what_is_found() -> None:
    before = comparison(200, 160, 40)
    cases = {
        "as before": comparison(200, 150, 30),
        "less accurate": comparison(200, 120, 20),
        "harmful": comparison(200, 150, 5, 25),
        "too few items": comparison(MIN_ITEMS - 1, 10),
    }
    for finding, fresh in cases.items():
        found = drift(before, fresh)
        assert found.finding == finding, found
        assert found.drifted is (finding in ("less accurate", "harmful"))
        assert f"{fresh.n} fresh items" in found.explanation
    # A smaller number alone is no fall, nor is a significant one that is tiny.
    assert drift(before, cases["as before"]).p_fall > ALPHA
    tiny = Drift(before, replace(cases["as before"], steered_accuracy=0.79), 0.001, 1.0)
    assert tiny.finding == "as before"
    assert drift(before, comparison(200, 180, 40)).finding == "as before"
