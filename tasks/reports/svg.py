"""Small pictures as SVG that take their colours and letters from the page around them.

They are trees of elements, so that a picture is well-formed and any text in it escaped. Colours are
the page's variables, light and dark; each picture has a text alternative and scrolls rather than
shrinks below what can be read.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

SERIES = 6  # colours, each with a mark of its own: `--series-1` to `--series-6`
_SMALLEST = 0.8  # share of its natural width to which a picture shrinks
_CHARACTER = 6.6  # pixels, a generous mean at 12 pixels


class Scale(NamedTuple):
    """A linear map of values to pixels.

    Attributes:
        low: Value at `start`.
        high: Value at `end`; above `low`.
        start: Pixel of `low`.
        end: Pixel of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def canvas(width: float, height: float, alternative: str) -> Element:
    """Return an empty picture of this size in pixels; `alternative` says in words what it shows."""
    return Element(
        "svg",
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": alternative,
            "style": f"max-width:{width:.0f}px;min-width:{_SMALLEST * width:.0f}px",
        },
    )


def add(parent: Element, tag: str, words: str | None = None, **attributes: str | float) -> Element:
    """Append a shape; `class_` stands for class, `stroke_width` for stroke-width."""
    named = {
        name.rstrip("_").replace("_", "-"): value if isinstance(value, str) else f"{value:.2f}"
        for name, value in attributes.items()
    }
    element = SubElement(parent, tag, named)
    element.text = words
    return element


def write(picture: Element) -> str:
    """Return the picture as markup for the page."""
    return tostring(picture, encoding="unicode", short_empty_elements=False)


def text_width(words: str) -> float:
    """Return about how many pixels a text takes at 12 pixels."""
    return _CHARACTER * len(words)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from `low` to `high`, at most `most` and a step of 1, 2 or 5."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(
        factor for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * step) <= most - 1
    )
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def mark(parent: Element, x: float, y: float, series: int, size: float = 4) -> Element:
    """Append the mark of a series, so that its lines are told apart without their colours."""
    s = size
    outlines: tuple[Sequence[tuple[float, float]], ...] = (
        ((-s, -s), (s, -s), (s, s), (-s, s)),
        ((0, -1.4 * s), (1.4 * s, 0), (0, 1.4 * s), (-1.4 * s, 0)),
        ((0, -1.3 * s), (1.2 * s, s), (-1.2 * s, s)),
        ((0, 1.3 * s), (1.2 * s, -s), (-1.2 * s, -s)),
    )
    index = series % SERIES
    colour = f"fill-{index + 1}"
    if index in (0, len(outlines) + 1):
        hollow = " hollow" if index else ""
        return add(parent, "circle", cx=x, cy=y, r=s, class_=f"{colour} line-{index + 1}{hollow}")
    points = " ".join(f"{x + dx:.2f},{y + dy:.2f}" for dx, dy in outlines[index - 1])
    return add(parent, "polygon", points=points, class_=colour)
