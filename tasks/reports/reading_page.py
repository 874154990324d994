"""The page of `pas read`: texts whose tokens are coloured by how far they lie along a vector."""

from collections.abc import Sequence
from typing import NamedTuple

from pas.steering.read import Reading
from tasks.reports.page import render


class Coloured(NamedTuple):
    """A token and its colour.

    Attributes:
        text: Of the token.
        value: Its projection.
        share: From -1 to 1: the projection by the largest one that is shown.
    """

    text: str
    value: float
    share: float


def coloured(readings: Sequence[Reading]) -> list[list[Coloured]]:
    """Return the tokens of each text with their colours.

    The first token has none: its hidden state is unlike all others.
    """
    sizes = [abs(float(value)) for reading in readings for value in reading.values[1:]]
    largest = max(sizes, default=0.0) or 1.0
    return [
        [
            Coloured(token, float(value), float(value) / largest if number else 0.0)
            for number, (token, value) in enumerate(
                zip(reading.tokens, reading.values, strict=True)
            )
        ]
        for reading in readings
    ]


def reading_page(title: str, readings: Sequence[Reading]) -> str:
    """Return a self-contained HTML page.

    Args:
        title: The vector.
        readings: From `pas.steering.read.read`.
    """
    texts = list(zip(readings, coloured(readings), strict=True))
    return render("reading.html.j2", title=title, texts=texts)
