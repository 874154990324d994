"""Shared parts of the figures: the frame, and line styles that do not need colour."""

from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Text is stored as text, so that it can be searched, and equal numbers give equal files.
_SVG = {"svg.fonttype": "none", "svg.hashsalt": "pas"}
_LINES = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


def styles() -> Any:
    """Yield marker, dashes and grey level of successive lines."""
    greys = ("0.0", "0.25", "0.4", "0.55")
    return cycle(
        {"marker": marker, "linestyle": dashes, "color": grey, "markersize": 4, "linewidth": 1.4}
        for marker, dashes, grey in zip("osD^", _LINES, greys, strict=True)
    )


def bare(axes: Axes) -> Axes:
    """Remove the top and right lines of the frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def save_figure(path: Path | None, figure: Figure) -> None:
    """Write the figure in the format of the path's suffix; without a path, write nothing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(_SVG):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    print(f"written: {path}")
