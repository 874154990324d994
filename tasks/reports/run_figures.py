"""The pictures of a training's report: sweep, methods beside their controls, letters."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple
from xml.etree.ElementTree import Element

from pas.methods.grid import Cell, Configuration
from tasks.reports.svg import SERIES, Scale, add, canvas, mark, text_width, ticks, write
from tasks.reports.words import plain, plural, signed

_CELL = (46.0, 25.0)
_STRONGEST = 0.62  # opacity of the farthest cell: more would swallow the number in it
_LEFT, _TOP = 52.0, 10.0
_NARROWEST = 210.0  # for the title of an axis


class Interval(NamedTuple):
    """A row of `forest`: a gain with its 95 % interval, and whether it is a control's."""

    label: str
    gain: float
    low: float
    high: float
    control: bool = False


def reach_of(cells: Sequence[Cell], baseline: float) -> float:
    """Return how far any accuracy lies from the unsteered one: the full shade of all heat maps."""
    return max([0.01, *(abs(c.correct / c.n - baseline) for c in cells)])


def heat_map(
    name: str, cells: Sequence[Cell], baseline: float, reach: float,
    best: Configuration | None, selected: Configuration,
) -> str:  # fmt: skip
    """Draw one method's validation accuracy minus the unsteered one, layers down.

    Args:
        name: Of the method, as people know it.
        cells: Its configurations, in any order; one that was not run leaves a gap.
        baseline: Unsteered validation accuracy.
        reach: The difference that gets the full shade.
        best: Its best configuration, framed thinly.
        selected: The training's choice, framed boldly.
    """
    layers = sorted({c.configuration.layer for c in cells})
    strengths = sorted({c.configuration.strength for c in cells})
    wide, high = _CELL
    width = max(_LEFT + wide * len(strengths) + 4, _NARROWEST)
    height = _TOP + high * len(layers) + 40
    top = max(cells, key=lambda c: c.correct / c.n)
    picture = canvas(
        width, height,
        f"{name}: validation accuracy of {plural(len(layers), 'layer')} by "
        f"{plural(len(strengths), 'strength')}, unsteered {plain(baseline)}. Highest "
        f"{plain(top.correct / top.n)} at layer {top.configuration.layer}, strength "
        f"{top.configuration.strength:g}. The table below has every number.",
    )  # fmt: skip
    framed: list[tuple[float, float, str]] = []
    for cell in cells:
        at = cell.configuration
        x = _LEFT + wide * strengths.index(at.strength)
        y = _TOP + high * layers.index(at.layer)
        difference = cell.correct / cell.n - baseline
        kind, opacity = _shade(difference / reach)
        group = add(picture, "g")
        add(group, "title",
            f"{name}, layer {at.layer}, strength {at.strength:g}: {plain(cell.correct / cell.n)}, "
            f"{cell.correct} of {cell.n} right, {signed(difference)} on unsteered")  # fmt: skip
        add(group, "rect", x=x + 1, y=y + 1, width=wide - 2, height=high - 2,
            class_=kind, fill_opacity=opacity)  # fmt: skip
        add(group, "text", _short(difference), x=x + wide / 2, y=y + high / 2 + 4,
            class_="middle")  # fmt: skip
        if at in (selected, best):
            framed.append((x, y, "chosen" if at == selected else "best"))
    for x, y, frame in framed:  # over the neighbours' edges
        add(picture, "rect", x=x + 1, y=y + 1, width=wide - 2, height=high - 2, class_=frame)
    for row, layer in enumerate(layers):
        add(picture, "text", str(layer), x=_LEFT - 8, y=_TOP + high * (row + 0.5) + 4,
            class_="end")  # fmt: skip
    below = _TOP + high * len(layers)
    for column, strength in enumerate(strengths):
        add(picture, "text", f"{strength:g}", x=_LEFT + wide * (column + 0.5), y=below + 16,
            class_="middle")  # fmt: skip
    add(picture, "text", "strength →", x=_LEFT, y=below + 34, class_="muted")
    add(picture, "text", "layer ↓", x=_LEFT - 8, y=below + 34, class_="end muted")
    return write(picture)


def _shade(share: float) -> tuple[str, float]:
    """Return the class of a cell and the opacity of its colour."""
    if abs(share) < 1e-9:
        return "level", 1.0
    return "up" if share > 0 else "down", _STRONGEST * min(1.0, abs(share))


def _short(difference: float) -> str:
    text = signed(difference)
    return "0" if float(text.replace("−", "-")) == 0 else text.replace("0.", ".", 1)


def curves(
    axis: str, steps: Mapping[float, str], series: Mapping[str, Mapping[float, float]],
    baseline: float, limits: tuple[float, float], what: str = "Validation accuracy",
) -> str:  # fmt: skip
    """Draw validation accuracies, or what else is named, as lines.

    Args:
        axis: What runs to the right.
        steps: The label of each place on it.
        series: For each line, at most `svg.SERIES` of them, its accuracy by place.
        baseline: Unsteered accuracy, a dashed line across.
        limits: Lowest and highest accuracy to make room for, so that pictures compare.
        what: What runs upwards.
    """
    if len(series) > SERIES:
        raise ValueError(f"{len(series)} lines cannot be told apart, only {SERIES}")
    left, width, tall = 52.0, 470.0, 190.0
    margin = max(0.02, 0.06 * (limits[1] - limits[0]))
    top = _TOP + 20 * (1 + _rows_of_legend(list(series), left, width))
    y = Scale(limits[0] - margin, limits[1] + margin, top + tall, top)
    first, last = min(steps), max(steps)
    x = Scale(first, last if last > first else first + 1, left + 16, width - 16)
    height = top + tall + 44
    told = "; ".join(
        f"{name} highest {plain(max(line.values()))} at {steps[max(line, key=line.__getitem__)]}"
        for name, line in series.items()
    )
    picture = canvas(width, height, f"{what} by {axis}: {told}. "
                                    f"Unsteered {plain(baseline)}.")  # fmt: skip
    for value in ticks(y.low, y.high):
        _grid_line(picture, left, y.at(value), width, y.at(value))
        add(picture, "text", f"{value:.2f}", x=left - 8, y=y.at(value) + 4, class_="end muted")
    free = -1e9  # a label that would touch the one before is left out
    for place, label in sorted(steps.items()):
        at, half = x.at(place), text_width(label) / 2
        if at - half > free:
            add(picture, "text", label, x=at, y=top + tall + 17, class_="middle muted")
            free = at + half + 3
    add(picture, "text", axis, x=(left + width) / 2, y=height - 6, class_="middle muted")
    add(picture, "line", x1=left, x2=width, y1=y.at(baseline), y2=y.at(baseline), class_="zero")
    for index, line in enumerate(series.values()):
        points = [(x.at(place), y.at(value)) for place, value in sorted(line.items())]
        path = " ".join(f"{px:.2f},{py:.2f}" for px, py in points)
        add(picture, "polyline", points=path, class_=f"line-{index + 1}")
        for px, py in points:
            mark(picture, px, py, index, 3)
    _legend(picture, list(series), left, width)
    return write(picture)


def _places(names: Sequence[str], left: float, width: float) -> list[tuple[float, int]]:
    """Return each entry's x and row in a legend that breaks where a line is full."""
    found, x, row = [], left, 0
    for name in names:
        step = text_width(name) + 34
        if x > left and x + step > width:
            x, row = left, row + 1
        found.append((x, row))
        x += step
    return found


def _rows_of_legend(names: Sequence[str], left: float, width: float) -> int:
    return _places(["unsteered", *names], left, width)[-1][1]


def _legend(picture: Element, names: Sequence[str], left: float, width: float) -> None:
    unsteered, *places = _places(["unsteered", *names], left, width)
    add(picture, "line", x1=unsteered[0], x2=unsteered[0] + 14, y1=_TOP + 2, y2=_TOP + 2,
        class_="zero")  # fmt: skip
    add(picture, "text", "unsteered", x=unsteered[0] + 19, y=_TOP + 6)
    for index, (name, (x, row)) in enumerate(zip(names, places, strict=True)):
        mark(picture, x + 7, _TOP + 2 + 20 * row, index)
        add(picture, "text", name, x=x + 19, y=_TOP + 6 + 20 * row)


def _grid_line(picture: Element, x1: float, y1: float, x2: float, y2: float) -> None:
    add(picture, "line", x1=x1, x2=x2, y1=y1, y2=y2, class_="grid-line")


def forest(rows: Sequence[Interval], draws: Sequence[float], draws_label: str) -> str:
    """Draw test gains with their 95 % intervals, and single gains of random directions below.

    Args:
        rows: From the top.
        draws: The gain of each random direction; none draws no row.
        draws_label: Of that row.
    """
    labels = [row.label for row in rows] + [draws_label] * bool(draws)
    left = 16 + max(map(text_width, labels))
    width, step, top = left + 430, 30.0, 8.0
    ends = [0.0, *(end for row in rows for end in (row.low, row.high, row.gain)), *draws]
    margin = max(0.01, 0.05 * (max(ends) - min(ends)))
    x = Scale(min(ends) - margin, max(ends) + margin, left, width - 12)
    bottom = top + step * len(labels)
    told = "; ".join(f"{r.label} {signed(r.gain)}, {signed(r.low)} to {signed(r.high)}"
                     for r in rows)  # fmt: skip
    if draws:
        told += f"; {draws_label} {signed(min(draws))} to {signed(max(draws))}"
    picture = canvas(width, bottom + 44, f"Gains in test accuracy with 95 % intervals: {told}.")
    for value in ticks(x.low, x.high):
        _grid_line(picture, x.at(value), top, x.at(value), bottom)
        add(picture, "text", signed(value, 2), x=x.at(value), y=bottom + 16,
            class_="middle muted")  # fmt: skip
    add(picture, "text", "gain in test accuracy", x=(left + width) / 2, y=bottom + 36,
        class_="middle muted")  # fmt: skip
    add(picture, "line", x1=x.at(0), x2=x.at(0), y1=top, y2=bottom, class_="zero")
    for index, row in enumerate(rows):
        y, kind = top + step * (index + 0.5), "control" if row.control else "own"
        add(picture, "text", row.label, x=left - 12, y=y + 4, class_="end")
        add(picture, "line", x1=x.at(row.low), x2=x.at(row.high), y1=y, y2=y,
            class_=f"{kind} bar")  # fmt: skip
        add(picture, "circle", cx=x.at(row.gain), cy=y, r=4.5, class_=kind)
    if draws:
        y = bottom - step / 2
        add(picture, "text", draws_label, x=left - 12, y=y + 4, class_="end")
        for gain in draws:
            add(picture, "line", x1=x.at(gain), x2=x.at(gain), y1=y - 7, y2=y + 7, class_="draw")
    return write(picture)


def letters(before: Sequence[int], after: Sequence[int], right: Sequence[int]) -> str:
    """Draw how often each letter is answered unsteered, answered steered, and right."""
    left, wide, tall = 44.0, 17.0, 150.0
    names = ("unsteered", "steered", "right")
    group = wide * 3 + 22
    width = max(left + group * len(before) + 8, 320.0)
    top = 36.0
    y = Scale(0, max([1, *before, *after, *right]), top + tall, top)
    told = "; ".join(
        f"{ascii_uppercase[i]} {a} unsteered, {b} steered, right {c} times"
        for i, (a, b, c) in enumerate(zip(before, after, right, strict=True))
    )
    picture = canvas(width, top + tall + 26, f"Test answers by letter: {told}.")
    for value in ticks(0, y.high):
        if value == int(value):
            _grid_line(picture, left, y.at(value), width, y.at(value))
            add(picture, "text", f"{value:g}", x=left - 8, y=y.at(value) + 4, class_="end muted")
    for index, counts in enumerate(zip(before, after, right, strict=True)):
        start = left + 12 + group * index
        for kind, count in enumerate(counts):
            bar = add(picture, "rect", x=start + wide * kind, y=y.at(count), width=wide - 2,
                      height=y.at(0) - y.at(count), class_=f"letter-{names[kind]}")  # fmt: skip
            add(bar, "title", f"{ascii_uppercase[index]} {names[kind]}: {count}")
        add(picture, "text", ascii_uppercase[index], x=start + 1.5 * wide, y=top + tall + 18,
            class_="middle")  # fmt: skip
    x = left
    for name in names:
        add(picture, "rect", x=x, y=6, width=11, height=11, class_=f"letter-{name}")
        add(picture, "text", name, x=x + 17, y=16)
        x += text_width(name) + 36
    return write(picture)
