"""Power of flips against published values and full enumeration."""

from collections.abc import Callable
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pas.evidence.paired import mcnemar
from pas.evidence.power import items_needed, power_of, smallest_gain


def by_shares(w2r: float, r2w: float) -> tuple[float, float]:
    """Gain and rate of flips, by the shares that turn right and that turn wrong."""
    return w2r - r2w, w2r + r2w


def enumerated(n: int, w2r_rate: float, r2w_rate: float, alpha: float) -> float:
    """Every table of n items whose McNemar p-value, as reported, shows a gain."""
    rates = [w2r_rate, r2w_rate, 1 - w2r_rate - r2w_rate]
    return sum(
        float(stats.multinomial.pmf([w2r, r2w, n - w2r - r2w], n, rates))
        for w2r in range(n + 1)
        for r2w in range(min(w2r, n - w2r) + 1)
        if w2r > r2w and mcnemar(w2r, r2w) < alpha
    )


@pytest.mark.parametrize(
    ("n", "w2r", "r2w", "alpha"),
    [(18, 0.4, 0.1, 0.05), (25, 0.3, 0.05, 0.01), (20, 0.2, 0.2, 0.2), (14, 0.6, 0.0, 0.05),
     (16, 0.1, 0.3, 0.05), (12, 0.7, 0.3, 0.0625)],
)  # fmt: skip
def test_power_is_the_sum_over_all_tables(n: int, w2r: float, r2w: float, alpha: float) -> None:
    found = power_of(n, *by_shares(w2r, r2w), alpha)
    assert found == pytest.approx(enumerated(n, w2r, r2w, alpha), abs=1e-9)


def test_power_in_a_simulation() -> None:
    rng = np.random.default_rng(5)
    tables = rng.multinomial(300, [0.12, 0.06, 0.82], size=4000)
    shown = np.mean([w > r and mcnemar(int(w), int(r)) < 0.05 for w, r, _ in tables])
    assert power_of(300, 0.06, 0.18) == pytest.approx(shown, abs=0.025)


def connor(gain: float, discordant: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Connor 1987, Biometrics 43:207-211: the normal approximation of the number of pairs."""
    z = stats.norm.isf
    root = z(alpha / 2) * discordant**0.5 + z(1 - power) * (discordant - gain**2) ** 0.5
    return ceil((root / gain) ** 2)


def test_published_power() -> None:
    # Duffy 1984, Biometrics 40:1005-1015, as checked by R's MESS: 144 pairs, rates .45 and .25,
    # one-sided .025, exact power .80.
    assert power_of(144, *by_shares(0.45, 0.25)) == pytest.approx(0.80, abs=0.005)
    # Connor 1987, p. 209: rates .45 and .05 need 23 pairs by the approximation; the exact test,
    # which does not exhaust alpha, needs a few more.
    assert connor(*by_shares(0.45, 0.05)) == 23
    assert 23 <= items_needed(*by_shares(0.45, 0.05)) <= 28


@pytest.mark.parametrize("gain", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("discordant", [0.12, 0.3, 0.6])
def test_items_needed_is_near_connors_and_just_enough(gain: float, discordant: float) -> None:
    found = items_needed(gain, discordant)
    assert connor(gain, discordant) <= found <= 1.15 * connor(gain, discordant) + 10
    assert power_of(found, gain, discordant) >= 0.8 > power_of(found - 1, gain, discordant)


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 1500), st.floats(0.05, 1.0), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_smallest_gain_is_shown_with_the_power(n: int, discordant: float, power: float) -> None:
    found = smallest_gain(n, discordant, power=power)
    if found is None:
        assert power_of(n, discordant, discordant) < power
        return
    assert 0 < found <= discordant
    assert power_of(n, found, discordant) == pytest.approx(power, abs=1e-6)
    assert power_of(n, found * 0.9, discordant) < power


def test_no_gain_can_be_too_small_or_too_large_to_show() -> None:
    assert smallest_gain(5, 0.5) is None  # five flips give p = .0625 at best
    assert power_of(5, 0.5, 0.5) == power_of(0, 0.5, 0.5) == 0.0
    assert smallest_gain(60, 0.3, alpha=0.9, power=0.1) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power_of(10, 0.3, 0.2), "exceed"),
        (lambda: power_of(10, float("nan"), 0.2), "exceed"),
        (lambda: power_of(10, 0.1, 0.0), "discordant_rate"),
        (lambda: power_of(10, 0.1, 0.2, alpha=0.0), "alpha"),
        (lambda: items_needed(0.1, 0.2, power=1.0), "alpha and power"),
        (lambda: items_needed(0.0, 0.2), "0 or less"),
        (lambda: items_needed(0.0001, 0.5), "more than"),
    ],
)
def test_impossible_rates_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
