"""Recognise the mapping of a data set: which columns are the question, the choices and the label.

Names of columns are compared with those that public data sets use, and every finding is checked on
the values. Where two readings are possible nothing is assumed: the message shows both and names the
option that decides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.intake.choice_columns import find_choices
from pas.intake.columns import SAMPLE, Columns, Reason, readable_choices
from pas.intake.label_columns import find_label, find_letters
from pas.intake.mapping import DataMapping
from pas.intake.question_columns import find_group, find_question
from pas.intake.rows import BadRow, Row, readable


class Recognised(NamedTuple):
    """A mapping with all that could be recognised before the labels are read.

    Attributes:
        mapping: The mapping.
        reasons: For each part that was not given, how it was found.
        preference: Whether the two choices of an item are texts, one preferred to the other.
    """

    mapping: DataMapping
    reasons: tuple[Reason, ...]
    preference: bool


def recognise(
    rows: Sequence[Row | BadRow], columns: Mapping[str, list[Any]], given: DataMapping, place: str
) -> Recognised:
    """Complete a mapping.

    Args:
        rows: All rows.
        columns: Their columns by dotted path, one value a readable row.
        given: What the user said; it is kept.
        place: Name of the source, for error messages.

    Returns:
        The mapping; `label_kind` and `label_base` are still as given.

    Raises:
        UserError: If a part cannot be recognised, or can be in two ways.
    """
    some = [row for row in rows if readable(row)][:SAMPLE]
    data = Columns(
        some, {c: v[:SAMPLE] for c, v in columns.items() if any(x is not None for x in v)}, place
    )
    reasons: list[Reason] = []
    mapping = given
    if not given.is_complete:
        for find in (find_choices, find_question, find_letters, find_label, find_group):
            mapping = find(data, mapping, reasons)
    texts = mapping.correct is not None and _pairs_of_texts(data, mapping)
    return Recognised(mapping, tuple(reasons), texts)


def _pairs_of_texts(data: Columns, mapping: DataMapping) -> bool:
    return all(len(choices.texts) == 2 for _, choices in readable_choices(data, mapping))
