"""Whether a vector still does on fresh items what it did on the test items of its training.

docs/method.md, "Drift".
"""

from typing import Literal, NamedTuple

from pas.evidence.paired import Comparison

MIN_ITEMS = 50
ALPHA = 0.01  # of each test: a watch looks again and again, and a false alarm costs a training
MIN_LOSS = 0.02  # of accuracy, as the smallest gain that counts in a verdict

Finding = Literal["too few items", "as before", "less accurate", "harmful"]


class Drift(NamedTuple):
    """Fresh items against the test items.

    Attributes:
        before: The training's comparison on its test items.
        fresh: The same vector's comparison on the fresh items.
        p_fall: One-sided Fisher's exact test of whether the steered model is less accurate on the
            fresh items.
        p_harm: One-sided exact McNemar test of whether steering loses on the fresh items.
    """

    before: Comparison
    fresh: Comparison
    p_fall: float
    p_harm: float

    @property
    def finding(self) -> Finding:
        """What is found; nothing is decided on fewer than `MIN_ITEMS` fresh items."""
        fall = self.before.steered_accuracy - self.fresh.steered_accuracy
        if self.fresh.n < MIN_ITEMS:
            return "too few items"
        if fall >= MIN_LOSS and self.p_fall < ALPHA:
            return "less accurate"
        if -self.fresh.delta >= MIN_LOSS and self.p_harm < ALPHA:
            return "harmful"
        return "as before"

    @property
    def drifted(self) -> bool:
        """Whether the vector has fallen below what it had."""
        return self.finding in ("less accurate", "harmful")

    @property
    def explanation(self) -> str:
        """The finding as a sentence, with its numbers."""
        fresh, before = self.fresh, self.before
        accuracies = (
            f"{fresh.steered_accuracy:.3f} on {fresh.n} fresh items, "
            f"{before.steered_accuracy:.3f} on the {before.n} test items of its training"
        )
        tests = f"p {self.p_fall:.2g} for a fall, {self.p_harm:.2g} for a loss by steering"
        return {
            "too few items": f"{fresh.n} fresh items are too few to decide; {MIN_ITEMS} are needed",
            "less accurate": f"the steered model is less accurate: {accuracies} ({tests})",
            "harmful": f"on fresh items the model is better without steering, by "
            f"{-fresh.delta:.3f}: {accuracies} ({tests})",
            "as before": f"no fall is shown: {accuracies} ({tests})",
        }[self.finding]


def drift(before: Comparison, fresh: Comparison) -> Drift:
    """Compare fresh items with the test items, which must be other items.

    Args:
        before: The training's comparison.
        fresh: Of the same vector.
    """
    from scipy import stats

    right = [round(c.steered_accuracy * c.n) for c in (fresh, before)]
    table = [[right[0], fresh.n - right[0]], [right[1], before.n - right[1]]]
    flips = fresh.w2r + fresh.r2w
    return Drift(
        before,
        fresh,
        float(stats.fisher_exact(table, alternative="less").pvalue),
        float(stats.binomtest(fresh.w2r, flips, 0.5, "less").pvalue) if flips else 1.0,
    )


def accuracy_interval(accuracy: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an accuracy over n items."""
    from scipy import stats

    found = stats.binomtest(round(accuracy * n), n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
