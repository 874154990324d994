"""The picture of a calibration: behaviour and damage against strength."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pas.evidence.calibration import Calibration
from tasks.reports.figures import PALETTE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled()
def calibration_figure(found: Calibration) -> Figure:
    """Draw accuracy above and damage below, with the budget and the chosen strength."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    strengths = [p.strength for p in found.points]
    if not math.isnan(found.points[0].accuracy):
        accuracies = [p.accuracy for p in found.points]
        above.plot(strengths, accuracies, "o-", color=PALETTE["accent"])
        above.axhline(accuracies[0], color=PALETTE["muted"], linestyle=":")
    above.set_ylabel(f"accuracy, {found.n_items} items")
    below.plot(strengths, [p.kl for p in found.points], "o-", color=PALETTE["accent"], label="mean")
    below.plot(
        strengths,
        [p.kl_p95 for p in found.points],
        "s--",
        color=PALETTE["series-2"],
        label="95th percentile",
    )
    below.axhline(found.budget, color=PALETTE["series-5"], linewidth=1, label="budget of the mean")
    below.set_ylabel("damage, nats per token")
    below.set_xlabel("strength")
    below.set_yscale("symlog", linthresh=0.01)
    highest = max(found.budget, *(p.kl_p95 for p in found.points))
    below.set_ylim(0, 2 * highest)  # of a logarithmic axis that is a little
    below.yaxis.set_major_formatter(FuncFormatter(lambda nats, _: f"{nats:g}"))
    below.legend(frameon=False)
    for axes in (above, below):
        axes.axvline(found.strength, color=PALETTE["series-3"], linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
    above.set_title(f"strength {found.strength:.3g} is the strongest within the budget")
    figure.set_label(
        f"Accuracy and damage against strength; {found.strength:.3g} is the strongest with a "
        f"damage of at most {found.budget:g} nats per token."
    )
    return figure
