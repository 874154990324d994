"""Turn the rows of a labelled multiple-choice table into validated examples.

A bad row is refused with its number and the reason. docs/method.md, "Label conventions",
describes how labels are read.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar, NamedTuple

from pas.data.examples import Example, rows_refused, validate
from pas.data.sources import Row, Source, read_rows
from pas.errors import UserError


@dataclass(frozen=True)
class Columns:
    """The columns of a table. The description of each field is in its metadata."""

    question: str = field(default="question", metadata={"description": "Column of the question."})
    choices: tuple[str, ...] = field(
        default=("choices",),
        metadata={"description": "One column that holds a list, or one column for each choice."},
    )
    label: str = field(
        default="label",
        metadata={"description": "Column of the correct choice: index from 0, letter or text."},
    )
    group: str | None = field(
        default=None,
        metadata={
            "description": "Column whose equal values stay in one of the three splits together."
        },
    )
    id: str | None = field(
        default=None,
        metadata={"description": "Column of unique ids; the row number by default."},
    )

    # Read by pydantic, which would otherwise ignore a misspelt field of a recipe.
    __pydantic_config__: ClassVar = {"extra": "forbid"}


def read_examples(source: str | Path | Source, columns: Columns | None = None) -> list[Example]:
    """Read a labelled data set: a csv, tsv, json, jsonl or parquet file, a folder, or a hub id.

    Args:
        source: A path or hub id, or a `Source` that also names a revision, configuration and
            split.
        columns: The columns to read; `question`, `choices` and `label` by default.

    Returns:
        One example per row, in the order of the rows.

    Raises:
        UserError: If the source is absent, a column is missing or any row is unusable.
    """
    source = source if isinstance(source, Source) else Source(str(source))
    return examples_from_columns(read_rows(source), columns or Columns(), f"--data {source.name}")


def examples_from_columns(rows: Sequence[Row], columns: Columns, place: str) -> list[Example]:
    """Read examples from a table by its columns.

    Args:
        rows: The rows, in order.
        columns: The columns to read.
        place: Name of the source, for error messages.

    Raises:
        UserError: If a column is missing or any row is unusable.
    """
    if not rows:
        raise UserError(f"{place}: no rows. Give a data set with at least one labelled item.")
    named = {
        "question": (columns.question,),
        "choices": columns.choices,
        "label": (columns.label,),
        "group": (columns.group,),
        "id": (columns.id,),
    }
    for field_name, names in named.items():
        option = f"--{field_name}-col"
        for name in names:
            if name is not None and name not in rows[0]:
                raise UserError(
                    f"{place}: there is no column {name!r}; the columns are "
                    f"{', '.join(map(repr, rows[0]))}. Correct Columns({field_name}=...) "
                    f"({option} on the command line)."
                )
    choices = [_choices(row, columns) for row in rows]
    read_label = _label_reader([row[columns.label] for row in rows], [c.texts for c in choices])

    def parse(row: Row, number: int) -> Example:
        texts, letters = choices[number - 1]
        name = row[columns.label]
        label = letters.index(name) if name in letters else read_label(name, texts)
        return Example(
            id=str(row[columns.id]) if columns.id else f"row-{number}",
            question=_text(row[columns.question]),
            choices=texts,
            label=label,
            group=str(row[columns.group]) if columns.group else f"row-{number}",
            stratum=str(label),
        )

    return parse_rows(rows, parse, place)


def parse_rows(
    rows: Sequence[Row], parse: Callable[[Row, int], Example], place: str
) -> list[Example]:
    """Apply `parse(row, number)` to every row and validate the examples.

    Args:
        rows: The rows, in order.
        parse: Takes a row and its number, counted from 1.
        place: Name of the source, for error messages.

    Raises:
        UserError: If `parse` raised ValueError, KeyError, TypeError or IndexError for a row, or
            validation refused one. The message lists the rows.
    """
    examples, problems = [], []
    for number, row in enumerate(rows, start=1):
        try:
            examples.append(parse(row, number))
        except KeyError as error:
            problems.append(f"row {number}: there is no field {error}")
        except (ValueError, TypeError, IndexError) as error:
            problems.append(f"row {number}: {error}")
    if problems:
        raise rows_refused(place, problems)
    validate(examples, place)
    return examples


class _Choices(NamedTuple):
    texts: tuple[str, ...]
    letters: tuple[str, ...]  # the data set's own names of the choices, if it has any


def _choices(row: Row, columns: Columns) -> _Choices:
    if len(columns.choices) > 1:
        cells = [row[name] for name in columns.choices]
        while cells and cells[-1] is None:  # dropping an inner gap would shift the labels
            cells.pop()
        return _Choices(tuple(map(_text, cells)), ())
    cell = row[columns.choices[0]]
    if isinstance(cell, Mapping) and "text" in cell:  # the hub's ARC and OpenBookQA
        return _Choices(tuple(map(_text, cell["text"])), tuple(map(str, cell.get("label", ()))))
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            cell = [cell]
    if not isinstance(cell, Sequence) or isinstance(cell, str):
        cell = [cell]
    if cell and all(isinstance(part, Mapping) and "text" in part for part in cell):
        names = tuple(str(part["label"]) for part in cell if "label" in part)
        return _Choices(tuple(_text(part["text"]) for part in cell), names)
    return _Choices(tuple(map(_text, cell)), ())


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _label_reader(
    labels: Sequence[Any], choices: Sequence[tuple[str, ...]]
) -> Callable[[Any, tuple[str, ...]], int]:
    """Decide for the whole column whether its labels are texts, letters or indices."""

    def unknown(label: Any, texts: tuple[str, ...]) -> ValueError:
        return ValueError(
            f"label {label!r} is not an index, a letter or one of the choices {' | '.join(texts)}"
        )

    def as_text(label: Any, texts: tuple[str, ...]) -> int:
        if _text(label) not in texts:
            raise unknown(label, texts)
        return texts.index(_text(label))

    def as_letter(label: Any, texts: tuple[str, ...]) -> int:
        name = _text(label).strip("().: ").upper()
        if len(name) != 1 or name not in ascii_uppercase:
            raise unknown(label, texts)
        index = ascii_uppercase.index(name)
        if index >= len(texts):
            raise ValueError(f"label {label!r} is out of range for {len(texts)} choices")
        return index

    def as_index(label: Any, texts: tuple[str, ...]) -> int:
        try:
            index = int(label)
        except (TypeError, ValueError, OverflowError):
            raise unknown(label, texts) from None
        if float(label) != index or not 0 <= index < len(texts):
            raise ValueError(
                f"label {label!r} is out of range for {len(texts)} choices, counted from 0"
            )
        return index

    def fits(read: Callable[[Any, tuple[str, ...]], int]) -> bool:
        hits = 0
        for label, texts in zip(labels, choices, strict=True):
            try:
                read(label, texts)
            except (ValueError, TypeError):
                continue
            hits += 1
        return hits > len(labels) / 2

    if all(isinstance(label, int) for label in labels):
        return as_index
    return as_text if fits(as_text) else as_letter if fits(as_letter) else as_index
