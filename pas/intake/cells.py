"""The cells of a row by name, path or template, and their texts: turns and conversations too."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pas.intake.rows import Row

_SLOT = re.compile(r"\{([^{}]+)\}")
_ROLE = ("role", "from", "speaker")
_CONTENT = ("content", "value", "text")
_SPEAKERS = {"human": "Human", "user": "Human", "gpt": "Assistant", "assistant": "Assistant"}


def columns_in(place: str) -> list[str]:
    """Return the columns that a question's column or template names."""
    return _SLOT.findall(place) or [place]


def value_at(row: Row, path: str) -> Any:
    """Return a column's value.

    Args:
        row: The row.
        path: A name, or a dotted path into nested fields.

    Raises:
        KeyError: If the row lacks it.
    """
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(path)
        value = value[part]
    return value


def has(row: Row, path: str) -> bool:
    """Tell whether a row has a column."""
    try:
        value_at(row, path)
    except KeyError:
        return False
    return True


def question_of(row: Row, place: str) -> str:
    """Return the text of a question's column or template.

    Raises:
        KeyError: If the row lacks a column.
        ValueError: If a value is neither text nor a conversation.
    """
    if not _SLOT.search(place):
        return text_of(value_at(row, place))
    template = place.replace("\\n", "\n").replace("\\t", "\t")
    return _SLOT.sub(lambda slot: text_of(value_at(row, slot[1])), template).strip()


def text_of(cell: Any) -> str:
    """Return the text of a cell: of a text, a number, a turn or a conversation; "" for none.

    Raises:
        ValueError: If it is another kind of value. It would be shown as Python prints it.
    """
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool):
        return "true" if cell else "false"  # as the file has it
    if isinstance(cell, int | float):
        return str(cell)
    if is_turn(cell):
        return _content(cell)
    if is_conversation(cell):
        return conversation_text(cell)
    raise ValueError(f"{str(cell)[:60]!r} is not a text")


def is_turn(cell: Any) -> bool:
    """Tell whether a value is a turn of a conversation: who says something, and what."""
    return (
        isinstance(cell, Mapping)
        and any(isinstance(cell.get(k), str) for k in _ROLE)
        and any(k in cell for k in _CONTENT)
    )


def is_conversation(cell: Any) -> bool:
    """Tell whether a value is a list of turns."""
    return isinstance(cell, Sequence) and bool(cell) and all(map(is_turn, cell))


def conversation_text(turns: Sequence[Any]) -> str:
    """Return the text of turns: of one its content, of several a dialogue that may be continued."""
    if len(turns) == 1:
        return _content(turns[0])
    lines = []
    for turn in turns:
        role = next(str(turn[k]) for k in _ROLE if k in turn).casefold()
        speaker = _SPEAKERS.get(role)
        lines.append(f"{speaker}: {_content(turn)}" if speaker else _content(turn))
    last = lines[-1]
    return "\n\n".join([*lines, "Assistant:"] if last.startswith("Human:") else lines)


def _content(turn: Mapping[str, Any]) -> str:
    content = next(turn[k] for k in _CONTENT if k in turn)
    if isinstance(content, Sequence) and not isinstance(
        content, str
    ):  # parts, of which text counts
        content = "\n".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    return str(content).strip()


def flat_columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Return the values of every column, nested fields under dotted paths; None where absent."""
    found: dict[str, list[Any]] = {}
    number = 0
    for number, row in enumerate(rows, start=1):
        for path, value in _leaves(row):
            column = found.setdefault(path, [])
            column += [None] * (number - 1 - len(column))
            column.append(value)
    for column in found.values():
        column += [None] * (number - len(column))
    return found


def _leaves(row: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        nested = isinstance(value, Mapping) and not is_turn(value) and not _is_choices(value)
        if nested:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_choices(value: Mapping[str, Any]) -> bool:
    """Tell whether an object holds choices: by letters or numbers, or as a list of texts."""
    names = [str(name) for name in value]
    if any(isinstance(value.get(k), list) for k in ("text", "texts")):
        return True
    short = all(len(name) == 1 and name.isalnum() for name in names)
    return (
        len(names) > 1 and short and not any(isinstance(v, Mapping | list) for v in value.values())
    )
