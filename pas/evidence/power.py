"""Answers that flip between right and wrong: how large a change is, how many items show it.

Power is of the exact McNemar test that `evidence.py` reports. Of n items a share flips
(`discordant_rate`), and the flips to right outnumber those to wrong by `gain` of all items. The
number of flips is binomial, and given it the flips to right are: summing over both is exact (Duffy
1984, Biometrics 40:1005-1015). Power is the chance that
p < alpha *and* the change is a gain: a significant loss shows no gain. It rises with n in small
saw-teeth, because a count of flips cannot meet alpha exactly.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

from pas.evidence.paired import Comparison
from pas.evidence.seeds import CONFIDENCE

LARGEST = 1_000_000


@dataclass(frozen=True)
class FlipEffect:
    """How large a paired change in right answers is.

    Attributes:
        risk_difference: Gain in accuracy.
        rd_low: Lower end of its 95 % interval.
        rd_high: Upper end.
        odds_ratio: w2r / r2w, the odds that a changed answer became right; None if r2w is 0.
        or_low: Lower end of its exact 95 % interval; None if no answer changed.
        or_high: Upper end; None if it has none, as where r2w is 0.
    """

    risk_difference: float
    rd_low: float
    rd_high: float
    odds_ratio: float | None
    or_low: float | None
    or_high: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


def flip_effect(comparison: Comparison) -> FlipEffect:
    """Return the effect sizes of a comparison.

    The interval of the difference is Newcombe's square-and-add with Wilson's limits, his method
    10 (Newcombe 1998, Stat. Med. 17:2635-2650), which keeps its coverage at few or no flips,
    where a bootstrap of the items has no width. That of the odds ratio is the exact binomial one
    of the share of w2r among the flips, p / (1 - p).
    """
    w2r, r2w, n = comparison.w2r, comparison.r2w, comparison.n
    right = round(comparison.baseline_accuracy * n)
    low, high = _newcombe(right - r2w, w2r, r2w, n - right - w2r)
    share_low = share_high = None
    if w2r + r2w:
        share = stats.binomtest(w2r, w2r + r2w).proportion_ci(CONFIDENCE, method="exact")
        share_low, share_high = float(share.low), float(share.high)
    return FlipEffect(
        risk_difference=(w2r - r2w) / n, rd_low=low, rd_high=high,
        odds_ratio=w2r / r2w if r2w else None,
        or_low=None if share_low is None else share_low / (1 - share_low),
        or_high=None if share_high in (None, 1.0) else share_high / (1 - share_high),
    )  # fmt: skip


def _newcombe(both: int, w2r: int, r2w: int, neither: int) -> tuple[float, float]:
    n = both + w2r + r2w + neither
    after, before = both + w2r, both + r2w
    after_down, after_up = _wilson_arms(after, n)
    before_down, before_up = _wilson_arms(before, n)
    margins = after * (n - after) * before * (n - before)
    excess = both * neither - w2r * r2w
    cross = max(excess - n / 2, 0.0) if excess > 0 else float(excess)
    phi = cross / math.sqrt(margins) if margins else 0.0
    down = after_down**2 - 2 * phi * after_down * before_up + before_up**2
    up = after_up**2 - 2 * phi * after_up * before_down + before_down**2
    difference = (w2r - r2w) / n
    # Rounding can make a sum of squares negative and push a limit past the end of its range.
    return (
        max(-1.0, difference - math.sqrt(max(down, 0.0))),
        min(1.0, difference + math.sqrt(max(up, 0.0))),
    )


def _wilson_arms(count: int, n: int) -> tuple[float, float]:
    """How far Wilson's limits lie below and above the share."""
    found = stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return count / n - float(found.low), float(found.high) - count / n


class Effect(NamedTuple):
    """What is expected of steering; unpack it into the functions below.

    Attributes:
        gain: Difference in accuracy, in 0 to 1.
        discordant_rate: Share of items whose answer changes between right and wrong.
    """

    gain: float
    discordant_rate: float


def power_of(n: int, gain: float, discordant_rate: float, alpha: float = 0.05) -> float:
    """Return the chance that n items show the gain.

    Raises:
        ValueError: If a rate or alpha is not possible.
    """
    _check(gain, discordant_rate, alpha)
    if n < 1:
        return 0.0
    fewest, most = stats.binom.interval(1 - 1e-12, n, discordant_rate)
    flips = np.arange(int(fewest), int(most) + 1)
    # The two-sided p-value of a fair binomial is twice the smaller tail: the largest count of
    # flips to wrong that is still significant is the last whose tail is below alpha / 2.
    most_wrong = stats.binom.ppf(alpha / 2, flips, 0.5) - 1
    wrong_share = (discordant_rate - gain) / (2 * discordant_rate)
    shown = stats.binom.cdf(most_wrong, flips, wrong_share)
    return float(np.sum(stats.binom.pmf(flips, n, discordant_rate) * shown))


def items_needed(
    gain: float, discordant_rate: float, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return a number of items that shows the gain with this power, where one less does not.

    Raises:
        ValueError: If a rate, alpha or power is not possible, the gain is not above 0, or it
            needs more than `LARGEST` items.
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

    None where not even a gain of the whole `discordant_rate` (no flip to wrong) is shown.

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
    return float(optimize.brentq(missing, 0.0, discordant_rate))


def _check(gain: float, discordant_rate: float, alpha: float, power: float = 0.5) -> None:
    if not 0 < discordant_rate <= 1:
        raise ValueError("discordant_rate is a share of the items, above 0 and at most 1")
    if math.isnan(gain) or abs(gain) > discordant_rate + 1e-12:
        raise ValueError("gain cannot exceed discordant_rate: only changed answers change accuracy")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError("alpha and power lie between 0 and 1")
