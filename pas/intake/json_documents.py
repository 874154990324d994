"""Rows in JSON: lines, a list, a list inside a document, records by id, lists by column."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pas.errors import UserError
from pas.intake.rows import BadRow, Row, Table

# Besides what is no JSON, numbers of too many digits and brackets within too many others.
_UNREADABLE = (ValueError, RecursionError)


def read_json(text: str, path: str | None, place: str) -> Table:
    """Read the rows of a JSON document or of JSON lines.

    Args:
        text: The text of the file.
        path: Dotted path of the rows; by default they are looked for.
        place: Name of the source, for error messages.

    Raises:
        UserError: If it is not JSON, or has no rows or several lists of rows.
    """
    try:
        document = json.loads(text)
    except _UNREADABLE as error:
        lines = _json_lines(text)
        if path is None and not isinstance(lines[0], BadRow):
            return Table(lines, {"format": "JSON lines"})
        raise UserError(
            f"{place}: the rows cannot be read: this is not JSON ({error}). Correct the file."
        ) from error
    if path is None and isinstance(document, Mapping) and "\n" not in text.strip():
        nested = list(_row_lists(document))
        if not nested and not _by_id(document) and not _columns_of_lists(document):
            return Table([document], {"format": "JSON lines"})
    rows, found = _rows_of(document, path, place)
    facts = {"format": "JSON"} | ({"rows": found} if found else {})
    return Table([r if isinstance(r, Mapping) else BadRow(_no_object(r)) for r in rows], facts)


def _no_object(value: Any) -> str:
    return f"this is not an object with named fields but {str(value)[:40]!r}"


def _json_lines(text: str) -> list[Row | BadRow]:
    rows: list[Row | BadRow] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except _UNREADABLE as error:
            rows.append(BadRow(f"line {number} is not JSON ({error})"))
            continue
        known = isinstance(row, Mapping)
        rows.append(row if known else BadRow(f"line {number}: {_no_object(row)}"))
    return rows or [BadRow("no line")]


def _rows_of(document: Any, path: str | None, place: str) -> tuple[Sequence[Any], str]:
    """Return the rows of a document and, for people, where in it they are."""
    if path is not None:
        for part in path.split("."):
            if not isinstance(document, Mapping) or part not in document:
                known = ", ".join(map(str, document)) if isinstance(document, Mapping) else "none"
                raise UserError(f"{place}: --data-rows {path}: no {part!r}; the fields are {known}")
            document = document[part]
    where = f" at {path}" if path else ""
    if isinstance(document, list):
        return document, path or ""
    if isinstance(document, Mapping):
        paths = list(_row_lists(document))
        if len(paths) > 1:
            names = " and ".join(name for name, _ in paths)
            raise UserError(f"{place}: rows are at {names}; choose with --data-rows {paths[0][0]}")
        if paths:
            (name, rows) = paths[0]
            return rows, f"{path}.{name}" if path else name
        for read in (_by_id, _columns_of_lists):
            rows = read(document)
            if rows:
                return rows, f"{path or 'the whole file'}, {_LAYOUTS[read]}"
    raise UserError(
        f"{place}: there is no list of rows{where}. Name its path with --data-rows, such as "
        "--data-rows data.examples."
    )


def _row_lists(document: Mapping[str, Any], depth: int = 3) -> Iterable[tuple[str, list[Any]]]:
    """Yield the lists of objects in a document and their dotted paths."""
    for name, value in document.items():
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            yield name, value
        elif isinstance(value, Mapping) and depth > 1:
            yield from ((f"{name}.{p}", rows) for p, rows in _row_lists(value, depth - 1))


def _by_id(document: Mapping[str, Any]) -> list[Any]:
    """Return the records of an object from id to record; [] if it is none."""
    values = list(document.values())
    if len(values) < 2 or not all(isinstance(v, Mapping) and v for v in values):
        return []
    if all({*map(str, v)} == {str(i) for i in range(len(v))} for v in values):
        return _columns_of_lists({k: list(v.values()) for k, v in document.items()})
    fields = set.intersection(*(set(v) for v in values))
    return values if len(fields) >= 2 else []


def _columns_of_lists(document: Mapping[str, Any]) -> list[Any]:
    """Return the rows of an object from column to list of cells; [] if it is none."""
    cells = list(document.values())
    if len(cells) < 2 or not all(isinstance(c, list) and len(c) == len(cells[0]) for c in cells):
        return []
    return [dict(zip(document, row, strict=True)) for row in zip(*cells, strict=True)]


_LAYOUTS: dict[Callable[[Mapping[str, Any]], list[Any]], str] = {
    _by_id: "one record for each id",
    _columns_of_lists: "one list for each column",
}
