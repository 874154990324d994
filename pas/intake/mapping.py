"""The mapping: which parts of a row are the question, the choices and the correct choice.

docs/data.md shows a mapping for each shape of data.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from pas.intake.formats import Row

LabelKind = Literal["index", "letter", "text", "boolean"]
_SLOT = re.compile(r"\{([^{}]+)\}")
_ROLE = ("role", "from", "speaker")
_CONTENT = ("content", "value", "text")
_SPEAKERS = {"human": "Human", "user": "Human", "gpt": "Assistant", "assistant": "Assistant"}


def _field(option: str, description: str, default: Any = None) -> Any:
    return field(default=default, metadata={"option": option, "description": description})


@dataclass(frozen=True)
class DataMapping:
    """How a row becomes an item. What is not given is recognised from the rows.

    A column is named by its name or by a dotted path into nested fields. The description of each
    field is in its metadata.
    """

    question: str | None = _field(
        "question_col",
        "Column of the question, or a template such as '{passage}\\n{question}'.",
    )
    choices: tuple[str, ...] = _field(
        "choices_col", "One column that holds all choices, or one column for each choice.", ()
    )
    fixed_choices: tuple[str, ...] = _field(
        "fixed_choices", "The choices, if all items have the same and no column holds them.", ()
    )
    correct: str | None = _field(
        "correct_col",
        "Column of the correct (or preferred) text. Without a question column, what it and the "
        "incorrect text begin with is the question.",
    )
    incorrect: tuple[str, ...] = _field(
        "incorrect_col", "Columns of the incorrect (or rejected) texts, or one that lists them.", ()
    )
    candidate: str | None = _field(
        "candidate_col",
        "Column of the choice, where each choice has a row of its own: rows with the same question "
        "are one item.",
    )
    choices_in_question: bool = _field(
        "choices_in_question", "The question's text ends in lettered choices.", False
    )
    separator: str | None = _field(
        "choices_separator", "What separates the choices (or incorrect texts) of one cell: ; or |."
    )
    strip_letters: bool | None = _field(
        "strip_letters", "Whether choices such as '(A) red' lose the data's own letters (yes, no)."
    )
    label: str | None = _field("label_col", "Column of the correct choice.")
    label_kind: LabelKind | None = _field(
        "label_kind", "What a label is: an index, a letter (or name), the choice's text, a boolean."
    )
    label_base: Literal[0, 1] | None = _field(
        "label_base", "Whether labels that are indices count from 0 or from 1."
    )
    label_values: tuple[str, ...] = _field(
        "label_values", "What each label means, such as true=yes,false=no.", ()
    )
    group: str | None = _field(
        "group_col", "Column whose equal values stay in one of the three splits together."
    )
    id: str | None = _field("id_col", "Column of unique ids; the row number by default.")

    # Read by pydantic, which would otherwise ignore a misspelt field of a recipe.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    @property
    def is_complete(self) -> bool:
        """Whether it says all that a row needs, so that nothing is recognised."""
        labelled = self.label_kind is not None or bool(self.label_values)
        return self.strip_letters is not None and (self.correct is not None or labelled)

    def given(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults, as they stand in a mapping file."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if value != default
        }


OPTION_OF = {f.name: "--" + f.metadata["option"].replace("_", "-") for f in fields(DataMapping)}


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
