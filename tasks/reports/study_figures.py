"""The picture of a study report, as SVG that takes its colours from the page around it."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pas.evidence.pooled import PooledGain
from pas.study.summary import TaskSummary
from tasks.reports.words import ALPHA

# Colours that nothing else has, each standing for one of the page's, light or dark.
_INK, _MUTED, _PAPER, _ACCENT = "#010203", "#010204", "#010205", "#010206"
_PAGE_COLOURS = {
    _INK: "currentColor", _MUTED: "var(--muted)", _PAPER: "var(--paper)", _ACCENT: "var(--accent)"
}  # fmt: skip
_ROW_INCHES = 0.25
_LONGEST = 48  # a longer label would leave no room for the picture
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "pas", "font.size": 9, "text.color": _INK,
    "axes.edgecolor": _MUTED, "axes.labelcolor": _INK, "xtick.color": _MUTED,
    "xtick.labelcolor": _INK, "ytick.color": _MUTED, "ytick.labelcolor": _INK,
}  # fmt: skip


def forest_plot(
    groups: Sequence[tuple[str, Sequence[tuple[str, TaskSummary]]]], pooled: PooledGain | None
) -> str:
    """Draw each gain with its interval, category by category, and the pooled one below.

    Args:
        groups: For each category its title and its rows, each with a label.
        pooled: Over all of them.
    """
    rows = [row for _, group in groups for row in group]
    low, high = _limits([summary for _, summary in rows], pooled)
    height = 1.0 + _ROW_INCHES * (len(rows) + 1.4 * len(groups) + 1.4 * (pooled is not None))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, height), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=_INK, lw=1)
        ticks: dict[float, tuple[str, bool]] = {}
        y = 0.0
        for title, group in groups:
            ticks[y] = (title, True)
            for label, summary in group:
                y += 1
                ticks[y] = (label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…", False)
                test = summary.test
                sure = summary.adjusted_p is not None and summary.adjusted_p < ALPHA
                _interval(axes, y, test.ci_low, test.ci_high, low, high)
                axes.plot(test.mean, y, "o", ms=5, mec=_ACCENT, mfc=_ACCENT if sure else _PAPER)
            y += 1.4
        if pooled is not None:
            ticks[y] = ("All, pooled", True)
            _interval(axes, y, pooled.ci_low, pooled.ci_high, low, high)
            axes.plot(pooled.mean, y, "D", ms=7, mec=_ACCENT, mfc=_ACCENT)
            y += 1
        axes.set_yticks(list(ticks), [label for label, _ in ticks.values()])
        for text, (_, bold) in zip(axes.get_yticklabels(), ticks.values(), strict=True):
            text.set_parse_math(False)
            text.set_fontweight("bold" if bold else "normal")
        axes.set_ylim(y - 0.2, -0.8)
        axes.set_xlim(low, high)
        axes.set_xlabel("gain in test accuracy, steered minus unsteered (95 % interval)")
        axes.tick_params(axis="y", length=0, pad=9)
        axes.grid(axis="x", color=_MUTED, alpha=0.25, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["left", "right", "top"]].set_visible(False)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return _for_page(out.getvalue())


def _limits(summaries: Sequence[TaskSummary], pooled: PooledGain | None) -> tuple[float, float]:
    # With two seeds, or two models to pool, an interval may be wider than any gain can be, which
    # would squeeze all means into a dot; the pooled one never sets the scale.
    means = [s.test.mean for s in summaries] + ([pooled.mean] if pooled else [])
    ends = means + [
        end for s in summaries for end in (s.test.ci_low, s.test.ci_high) if end is not None
    ]
    reach = max(0.05, 2 * max(map(abs, means)))
    low, high = max(-reach, min(ends)), min(reach, max(ends))
    margin = 0.06 * max(high - low, 0.02)
    return min(low, -0.02) - margin, max(high, 0.02) + margin


def _interval(
    axes: Axes, y: float, start: float | None, end: float | None, low: float, high: float
) -> None:
    if start is None or end is None:
        return
    axes.plot([max(start, low), min(end, high)], [y, y], color=_ACCENT, lw=1.8)
    for cut, x, arrow in ((start < low, low, "<"), (end > high, high, ">")):
        if cut:
            axes.plot(x, y, arrow, ms=7, color=_ACCENT, clip_on=False)


def _for_page(svg: str) -> str:
    """Make it part of the page: no prolog, no size, no colours and no style sheet of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for mark, colour in _PAGE_COLOURS.items():
        svg = svg.replace(mark, colour)
    return svg
