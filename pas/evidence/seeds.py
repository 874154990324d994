"""Paired t-tests over seeds, and the adjustment of p-values for many tests.

docs/method.md, "Several seeds, models and tasks". The tests are those of scipy and statsmodels. A
number that cannot be computed from the data is None, never NaN, and `note` gives the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Alternative = Literal["greater", "less", "two-sided"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test, as the paper runs it over its 15 seeds.

    Attributes:
        n: Number of pairs.
        mean: Mean of steered minus baseline, in the unit of the values.
        ci_low: Lower end of the two-sided 95 % interval of the mean.
        ci_high: Upper end of that interval.
        t: The t statistic, on n - 1 degrees of freedom.
        p_value: The p-value for the alternative that was asked for.
        effect: Cohen's d_z: the mean in standard deviations of the differences.
        effect_low: Lower end of the 95 % interval of the effect.
        effect_high: Upper end of that interval.
        note: The reason why a field is None; otherwise empty.
    """

    n: int
    mean: float
    ci_low: float | None
    ci_high: float | None
    t: float | None
    p_value: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    note: str = ""


def paired_t(
    baseline: Sequence[float], steered: Sequence[float], alternative: Alternative = "greater"
) -> PairedTest:
    """Compare paired values, such as the test accuracies of each seed.

    The interval of d_z is exact under normality: the noncentrality parameters for which the
    observed t is the 97.5th and the 2.5th percentile, divided by sqrt(n) (Steiger & Fouladi 1997).

    Args:
        baseline: [n] values without a vector.
        steered: [n] values with the vector.
        alternative: "greater", "less" or "two-sided".

    Raises:
        ValueError: If the lengths differ, there are no pairs or a value is not finite.
    """
    before, after = finite(baseline), finite(steered)
    if before.shape != after.shape:
        raise ValueError("paired_t needs a steered value for each baseline value")
    differences = after - before
    # Equal differences of unequal floats differ by rounding, which is not variation.
    largest = max(np.abs(before).max(), np.abs(after).max())
    if np.ptp(differences) <= 1e-12 * largest:
        return _no_spread(differences)
    from scipy import special, stats

    n = len(differences)
    test = stats.ttest_rel(after, before, alternative=alternative)
    low, high = stats.ttest_rel(after, before).confidence_interval(CONFIDENCE)
    tail = (1 - CONFIDENCE) / 2
    ends = special.nctdtrinc(n - 1, [1 - tail, tail], test.statistic) / np.sqrt(n)
    exact = bool(np.isfinite(ends).all())
    return PairedTest(
        n=n,
        mean=float(differences.mean()),
        ci_low=float(low),
        ci_high=float(high),
        t=float(test.statistic),
        p_value=float(test.pvalue),
        effect=float(test.statistic / np.sqrt(n)),
        effect_low=float(ends[0]) if exact else None,
        effect_high=float(ends[1]) if exact else None,
        note="" if exact else "t is too large for the interval of the effect size",
    )


def _no_spread(differences: np.ndarray) -> PairedTest:
    n, mean = len(differences), float(differences.mean())
    end, p_value = (mean if n > 1 else None), (None if mean else 1.0)
    several = "the differences are all the same, so their variation is unknown"
    note = several if n > 1 else "with one pair, the variation of the difference is unknown"
    return PairedTest(n, mean, end, end, None, p_value, None, None, None, note)


def adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method, in the same order.

    The probability of any false claim among them stays below alpha.

    Args:
        p_values: One per test of the family.

    Raises:
        ValueError: If a value is not between 0 and 1.
    """
    if not len(p_values):
        return []
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("a p-value is not between 0 and 1")
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def finite(values: Sequence[float]) -> np.ndarray:
    """Return the values as an array [n] float64.

    Raises:
        ValueError: If there are no values, or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError("the values must be finite, and at least one")
    return array
