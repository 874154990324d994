"""What is read from a file: rows, and rows that could not be read."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

Row = Mapping[str, Any]


class BadRow(NamedTuple):
    """A row that could not be read.

    Attributes:
        reason: Why, with the line if there is one.
    """

    reason: str


class Table(NamedTuple):
    """The rows of a file.

    Attributes:
        rows: In the order of the file; a row that could not be read is a `BadRow`.
        facts: How the file was read: format, encoding, separator, header and so on.
    """

    rows: list[Row | BadRow]
    facts: dict[str, str]


def readable(row: Row | BadRow) -> TypeGuard[Row]:
    """Tell whether a row could be read."""
    return not isinstance(row, BadRow)
