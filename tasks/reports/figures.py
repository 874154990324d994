"""Pictures of reports: matplotlib figures, as PNG in MLflow and as SVG on the pages.

A figure's label (`figure.get_label()`) is its text alternative. Colours are those of `PALETTE`;
on a page each is replaced by the page's variable of that name, light or dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pas.methods.grid import Cell, Configuration
from tasks.reports.words import plain, plural, signed

if TYPE_CHECKING:  # the functions that draw import it, so that a flow begins without it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's colours in light; its style sheet takes them from here. No two are the same, so that
# each can be told from its value.
PALETTE = {
    "paper": "#ffffff",
    "ink": "#1d2125",
    "muted": "#5b636c",
    "line": "#d9dde1",
    "soft": "#f4f5f7",
    "accent": "#1f5fa8",
    "up": "#2f80d8",
    "down": "#e08a1e",
    "series-2": "#b4540a",
    "series-3": "#2d7d46",
    "series-4": "#8b3fa0",
    "series-5": "#a3263a",
}
_INK, _MUTED, _LINE, _PAPER = (PALETTE[name] for name in ("ink", "muted", "line", "paper"))
_ACCENT = PALETTE["accent"]
# Each line of `curves` has a colour and a mark of its own.
_SERIES = (
    ("accent", "o"),
    ("series-2", "s"),
    ("series-3", "D"),
    ("series-4", "^"),
    ("series-5", "v"),
    ("muted", "o"),
)
SERIES = len(_SERIES)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}
_PIXELS = 96  # an inch on a page
_SMALLEST = 0.8  # share of its natural width to which a picture shrinks; below that it scrolls
_CHARACTER = 0.072  # inches, a generous mean at 9 points
_LONGEST = 48  # characters of a label; a longer one would leave no room for the picture
_STRONGEST = 0.62  # opacity of the farthest cell: more would swallow the number in it


class Interval(NamedTuple):
    """A row of `forest`.

    Attributes:
        label: At the left.
        gain: Difference in accuracy; None for a heading.
        low: Lower end of its 95 % interval; None if there is none.
        high: Upper end.
        look: "sure" is a filled point, "unsure" a hollow one, "control" a grey one, "pooled" a
            diamond.
    """

    label: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    look: Literal["sure", "unsure", "control", "pooled"] = "sure"


@contextmanager
def styled(salt: str | None = None) -> Iterator[None]:
    """Draw in the style of the pages; also the decorator of what draws.

    Args:
        salt: What makes the ids within a picture differ from those of another one.
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": salt}):
        yield


def as_svg(figure: Figure) -> str:
    """Return the figure as markup of a page: no size, colours, style sheet or reference of its own.

    Its text is text, in the page's letters.
    """
    out = io.StringIO()
    label = str(figure.get_label())
    # The salt makes the ids within a picture differ from those of the page's other pictures.
    with styled(label):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = svg.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    variables = {colour: f"var(--{name})" for name, colour in PALETTE.items()}
    colours = re.compile("|".join(variables))
    svg = re.sub(r'style="[^"]*"', lambda m: colours.sub(lambda c: variables[c[0]], m[0]), svg)
    width, height = (_PIXELS * inches for inches in figure.get_size_inches())
    opening = (
        f'<svg viewBox="0 0 {width * 0.75:g} {height * 0.75:g}" role="img" '
        f'aria-label="{_escaped(label)}" '
        f'style="max-width:{width:.0f}px;min-width:{_SMALLEST * width:.0f}px">'
    )
    return opening + svg[svg.index(">") + 1 :].strip()


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


class _Margins(NamedTuple):
    """Inches around the axes."""

    left: float
    top: float
    right: float
    bottom: float


def _canvas(width: float, height: float, around: _Margins) -> tuple[Figure, Axes]:
    """Return a figure with axes of this size in inches, without a frame."""
    from matplotlib.figure import Figure

    # Sizes are known here, so no layout engine has to measure every text.
    whole = (around.left + width + around.right, around.top + height + around.bottom)
    figure = Figure(figsize=whole)
    axes = figure.add_axes(
        (
            around.left / whole[0],
            around.bottom / whole[1],
            width / whole[0],
            height / whole[1],
        )
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    return figure, axes


def reach_of(cells: Sequence[Cell], baseline: float) -> float:
    """Return the largest distance from the unsteered accuracy: the full shade of all heat maps."""
    return max([0.01, *(abs(c.correct / c.n - baseline) for c in cells)])


@styled()
def heat_map(
    name: str,
    cells: Sequence[Cell],
    baseline: float,
    reach: float,
    framed: tuple[Configuration, Configuration | None],
) -> Figure:
    """Draw one method's validation accuracy minus the unsteered one, layers down.

    Args:
        name: Of the method, as people know it.
        cells: Its configurations, in any order; one that was not run leaves a gap.
        baseline: Unsteered validation accuracy.
        reach: The difference that gets the full shade.
        framed: The training's choice, framed boldly, and the method's best, framed by dashes.
    """
    from matplotlib.patches import Rectangle

    layers = sorted({c.configuration.layer for c in cells})
    strengths = sorted({c.configuration.strength for c in cells})
    width, height = max(0.48 * len(strengths), 1.6), 0.26 * len(layers)
    figure, axes = _canvas(width, height, _Margins(0.6, 0.3, 0.05, 0.42))
    axes.set_xlim(-0.5, width / 0.48 - 0.5)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    for cell in cells:
        configuration = cell.configuration
        x, y = strengths.index(configuration.strength), layers.index(configuration.layer)
        difference = cell.correct / cell.n - baseline
        colour, opacity = _shade(difference / reach)
        corner = (x - 0.47, y - 0.46)
        axes.add_patch(
            Rectangle(corner, 0.94, 0.92, facecolor=colour, alpha=opacity, lw=0, clip_on=False)
        )
        axes.text(x, y, _short(difference), ha="center", va="center_baseline")
        if configuration in framed:
            line = {"lw": 2.0} if configuration == framed[0] else {"lw": 1.0, "ls": (0, (3, 2))}
            frame = Rectangle(corner, 0.94, 0.92, fill=False, ec=_INK, zorder=3, **line)
            frame.set_clip_on(False)
            axes.add_patch(frame)
    axes.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths], color=_INK)
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers], color=_INK)
    inch = 1 / figure.get_figwidth(), 1 / figure.get_figheight()
    figure.text(0.05 * inch[0], 0.06 * inch[1], "layer ↓", color=_MUTED)
    figure.text(0.6 * inch[0], 0.06 * inch[1], "strength →", color=_MUTED)
    figure.text(0.05 * inch[0], 1 - 0.17 * inch[1], name, fontweight="bold")
    top = max(cells, key=lambda c: c.correct / c.n)
    figure.set_label(
        f"{name}: validation accuracy of {plural(len(layers), 'layer')} by "
        f"{plural(len(strengths), 'strength')}, unsteered {plain(baseline)}. Highest "
        f"{plain(top.correct / top.n)} at layer {top.configuration.layer}, strength "
        f"{top.configuration.strength:g}."
    )
    return figure


def _shade(share: float) -> tuple[str, float]:
    """Return the colour of a cell and its opacity."""
    if abs(share) < 1e-9:
        return PALETTE["soft"], 1.0
    return PALETTE["up" if share > 0 else "down"], _STRONGEST * min(1.0, abs(share))


def _short(difference: float) -> str:
    text = signed(difference)
    return "0" if float(text.replace("−", "-")) == 0 else text.replace("0.", ".", 1)


@styled()
def curves(
    along: str,
    series: Mapping[str, Mapping[float, float]],
    baseline: float,
    what: str = "Validation accuracy",
) -> Figure:
    """Draw validation accuracies, or what else is named, as lines over layers, strengths or sizes.

    What they run over takes equal steps: strengths grow roughly by factors, and may be 0 or below.

    Args:
        along: What runs to the right.
        series: For each line, at most `SERIES` of them, its value by position.
        baseline: The unsteered value, a dashed line across.
        what: What runs upwards.
    """
    if len(series) > SERIES:
        raise ValueError(f"{len(series)} lines cannot be told apart, only {SERIES}")
    steps = sorted({position for line in series.values() for position in line})
    values = [baseline, *(value for line in series.values() for value in line.values())]
    limits = min(values), max(values)
    width, height = 4.15, 2.0
    names = ["unsteered", *map(_cut, series)]
    columns = max(1, int(width / (_CHARACTER * max(map(len, names)) + 0.5)))
    rows = -(-len(names) // columns)
    figure, axes = _canvas(width, height, _Margins(0.5, 0.1 + 0.19 * rows, 0.1, 0.45))
    margin = max(0.02, 0.06 * (limits[1] - limits[0]))
    axes.set_ylim(limits[0] - margin, limits[1] + margin)
    _round_ticks(axes, "y")
    last = max(len(steps) - 1, 1)
    axes.set_xlim(-0.04 * last, 1.04 * last)
    labelled, free = {}, -1e9  # a label that would touch the one before is left out
    for x, step in enumerate(steps):
        half = _CHARACTER * len(f"{step:g}") / 2
        if width * x / last - half > free:
            labelled[x] = f"{step:g}"
            free = width * x / last + half + 0.03
    axes.set_xticks(list(labelled), list(labelled.values()))
    axes.set_xlabel(along)
    axes.axhline(baseline, color=_MUTED, lw=1, ls=(0, (5, 3)), label="unsteered")
    for (name, line), (colour, mark) in zip(series.items(), _SERIES, strict=False):
        axes.plot(
            [steps.index(position) for position in sorted(line)],
            [line[position] for position in sorted(line)],
            mark,
            ls="-",
            color=PALETTE[colour],
            lw=1.4,
            ms=4,
            label=_cut(name),
            mfc=_PAPER if colour == "muted" else PALETTE[colour],
        )
    figure.legend(
        loc="upper left",
        bbox_to_anchor=(0.45 / figure.get_figwidth(), 1.0),
        ncols=columns,
        frameon=False,
        borderpad=0.1,
        labelspacing=0.3,
        handlelength=1.6,
        columnspacing=1.2,
    )
    told = "; ".join(
        f"{name} highest {plain(max(line.values()))} at {max(line, key=line.__getitem__):g}"
        for name, line in series.items()
    )
    figure.set_label(f"{what} by {along}: {told}. Unsteered {plain(baseline)}.")
    return figure


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"


def _round_ticks(axes: Axes, direction: Literal["x", "y"]) -> None:
    """Put at most eight round values and lines of a grid on an axis."""
    from matplotlib.ticker import MaxNLocator

    which = axes.xaxis if direction == "x" else axes.yaxis
    which.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.grid(axis=direction, color=_LINE, lw=0.8)


@styled()
def forest(rows: Sequence[Interval], draws: Sequence[float] = (), draws_label: str = "") -> Figure:
    """Draw gains in test accuracy with their 95 % intervals.

    Args:
        rows: From the top.
        draws: Single gains that have no interval, such as random directions', as ticks in a row
            below; none draws no row.
        draws_label: Of that row.
    """
    from matplotlib.ticker import FuncFormatter

    labels = [_cut(row.label) for row in rows] + [draws_label] * bool(draws)
    left = 0.2 + _CHARACTER * max(map(len, labels))
    figure, axes = _canvas(4.6, 0.27 * len(labels), _Margins(left, 0.05, 0.15, 0.45))
    low, high = _limits(rows, draws)
    axes.set_xlim(low, high)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.axvline(0, color=_INK, lw=1)
    for y, row in enumerate(rows):
        if row.gain is None:
            continue
        colour = _MUTED if row.look == "control" else _ACCENT
        if row.low is not None and row.high is not None:
            axes.plot([max(row.low, low), min(row.high, high)], [y, y], color=colour, lw=1.8)
            for beyond, x, arrow in ((row.low < low, low, "<"), (row.high > high, high, ">")):
                if beyond:
                    axes.plot(x, y, arrow, ms=7, color=colour, clip_on=False)
        mark, size = ("D", 7) if row.look == "pooled" else ("o", 5.5)
        inside = _PAPER if row.look == "unsure" else colour
        axes.plot(row.gain, y, mark, ms=size, mec=colour, mfc=inside)
    if draws:
        axes.plot(draws, [len(rows)] * len(draws), "|", ms=10, mew=1.5, color=_MUTED, alpha=0.75)
    axes.set_yticks(range(len(labels)), labels)
    for text, row in zip(axes.get_yticklabels(), rows, strict=False):
        text.set_fontweight("bold" if row.gain is None else "normal")
    axes.tick_params(axis="y", labelcolor=_INK, pad=8)
    _round_ticks(axes, "x")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, 2)))
    axes.set_xlabel("gain in test accuracy, steered minus unsteered (95 % interval)")
    told = [_told(row) for row in rows if row.gain is not None]
    if draws:
        told.append(f"{draws_label} {signed(min(draws))} to {signed(max(draws))}")
    figure.set_label(f"Gains in test accuracy with 95 % intervals: {'; '.join(told)}.")
    return figure


def _told(row: Interval) -> str:
    if row.low is None or row.high is None:
        return f"{row.label} {signed(row.gain)}"
    return f"{row.label} {signed(row.gain)}, {signed(row.low)} to {signed(row.high)}"


def _limits(rows: Sequence[Interval], draws: Sequence[float]) -> tuple[float, float]:
    # With two seeds, or two models to pool, an interval may be wider than any gain can be, which
    # would squeeze all means into a dot; the pooled one never sets the scale.
    gains = [row.gain for row in rows if row.gain is not None] + list(draws)
    ends = gains + [
        end
        for row in rows
        if row.look != "pooled"
        for end in (row.low, row.high)
        if end is not None
    ]
    reach = max(0.05, 2 * max(map(abs, gains)))
    low, high = max(-reach, min(ends)), min(reach, max(ends))
    margin = 0.06 * max(high - low, 0.02)
    return min(low, -0.02) - margin, max(high, 0.02) + margin
