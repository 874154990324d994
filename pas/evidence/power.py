"""Power of the exact McNemar test of `pas.evidence.paired`, and how many items show a gain.

docs/method.md, "The comparison". Of n items, the share `discordant_rate` flips between right and
wrong, and the flips to right exceed those to wrong by the share `gain` of all items. The number of
flips is binomial, and so is the number of flips to right among them. Summing over both is exact
(Duffy 1984, Biometrics 40:1005-1015). Power is the probability that p < alpha and the change is a
gain; a significant loss does not count. Power does not rise evenly with n, because the test cannot
reach alpha exactly.
"""

import math

import numpy as np

LARGEST = 1_000_000


def power_of(n: int, gain: float, discordant_rate: float, alpha: float = 0.05) -> float:
    """Return the probability that n items show the gain.

    Args:
        n: Number of items.
        gain: Gain in accuracy.
        discordant_rate: Share of items whose answer flips.
        alpha: Significance level.

    Raises:
        ValueError: If a rate or alpha is not possible.
    """
    _check(gain, discordant_rate, alpha)
    if n < 1:
        return 0.0
    from scipy.stats import binom

    fewest, most = binom.interval(1 - 1e-12, n, discordant_rate)
    flips = np.arange(int(fewest), int(most) + 1)
    # The two-sided p-value of a fair binomial is twice the smaller tail, so the largest significant
    # count of flips to wrong is the last one whose tail is below alpha / 2.
    most_wrong = binom.ppf(alpha / 2, flips, 0.5) - 1
    wrong_share = (discordant_rate - gain) / (2 * discordant_rate)
    shown = binom.cdf(most_wrong, flips, wrong_share)
    return float(np.sum(binom.pmf(flips, n, discordant_rate) * shown))


def items_needed(
    gain: float, discordant_rate: float, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return a number of items that shows the gain with this power; one item less does not.

    Args:
        gain: Gain in accuracy.
        discordant_rate: Share of items whose answer flips.
        alpha: Significance level.
        power: Probability of showing the gain.

    Raises:
        ValueError: If a rate, alpha or power is not possible, the gain is not above 0, or more
            than `LARGEST` items are needed.
    """
    _check(gain, discordant_rate, alpha, power)
    if gain <= 0:
        raise ValueError("no number of items shows a gain of 0 or less")
    too_few, enough = 0, 16
    while power_of(enough, gain, discordant_rate, alpha) < power:
        too_few, enough = enough, 2 * enough
        if enough > LARGEST:
            raise ValueError(f"a gain of {gain:g} needs more than {LARGEST} items")
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if power_of(middle, gain, discordant_rate, alpha) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def smallest_gain(
    n: int, discordant_rate: float, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Return the smallest gain that n items show with this power.

    Args:
        n: Number of items.
        discordant_rate: Share of items whose answer flips.
        alpha: Significance level.
        power: Probability of showing the gain.

    Returns:
        The gain in accuracy; None if even a gain of `discordant_rate` (no flip to wrong) is not
        shown.

    Raises:
        ValueError: If a rate, alpha or power is not possible.
    """
    _check(0.0, discordant_rate, alpha, power)

    def missing(gain: float) -> float:
        return power_of(n, gain, discordant_rate, alpha) - power

    if missing(discordant_rate) < 0:
        return None
    if missing(0.0) >= 0:
        return 0.0
    from scipy.optimize import brentq

    return float(brentq(missing, 0.0, discordant_rate))


def _check(gain: float, discordant_rate: float, alpha: float, power: float = 0.5) -> None:
    if not 0 < discordant_rate <= 1:
        raise ValueError("discordant_rate must be above 0 and at most 1")
    if math.isnan(gain) or abs(gain) > discordant_rate + 1e-12:
        raise ValueError("gain cannot exceed discordant_rate: only changed answers change accuracy")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError("alpha and power must be between 0 and 1")
