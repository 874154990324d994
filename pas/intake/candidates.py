"""Data with a row for each choice: the rows of a question are joined to one item."""

from collections.abc import Sequence
from typing import Any

from pas.intake.cells import question_of, text_of, value_at
from pas.intake.labels import NO, YES
from pas.intake.mapping import DataMapping
from pas.intake.rows import BadRow, Row, readable


def mark(value: Any) -> int | None:
    """Return 1 for a value that says right, 0 for one that says wrong."""
    text = str(value).strip().casefold().removesuffix(".0")
    return 1 if text in YES else 0 if text in NO else None


def candidates_as_items(rows: Sequence[Row | BadRow], mapping: DataMapping) -> list[Row | BadRow]:
    """Join the rows of each question to one row with lists of candidates and of marks (0 or 1).

    Args:
        rows: Rows with one candidate each.
        mapping: Its question, candidate and label are given.
    """
    candidate, label = str(mapping.candidate), str(mapping.label)
    items: dict[Any, Any] = {}
    for row in rows:
        if not readable(row):
            items[len(items), "bad"] = row
            continue
        try:
            question = question_of(row, str(mapping.question))
            text, marked = text_of(value_at(row, candidate)), mark(value_at(row, label))
        except (KeyError, ValueError) as error:
            items[len(items), "bad"] = BadRow(str(error))
            continue
        item = items.setdefault(question, {**row, candidate: [], label: []})
        item[candidate].append(text)
        item[label].append(-1 if marked is None else marked)
    return list(items.values())
