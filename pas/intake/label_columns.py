"""Find the column of labels, and whether choices have letters of their own."""

from collections.abc import Sequence
from dataclasses import replace

from pas.errors import UserError
from pas.intake.cells import columns_in, has, value_at
from pas.intake.choices import Choices, in_letters
from pas.intake.columns import LABEL_NAMES, Columns, Reason, described, readable_choices
from pas.intake.labels import Labelled, TwoReadings, correct_one, is_hidden, reading_of
from pas.intake.mapping import OPTION_OF, DataMapping
from pas.intake.rows import Row


def find_letters(data: Columns, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find out whether the choices begin with the data's own letters."""
    if mapping.strip_letters is not None:
        return mapping
    if not mapping.choices:
        return replace(mapping, strip_letters=False)
    texts = [c.texts for _, c in readable_choices(data, mapping)]
    own = sum(map(in_letters, texts))
    strip = bool(texts) and own >= 0.9 * len(texts)
    if strip:
        reasons.append(Reason("strip letters", "yes", "the choices begin with their own letters"))
    return replace(mapping, strip_letters=strip)


def find_label(data: Columns, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find the column of labels.

    Args:
        data: The columns.
        mapping: What is known, the choices among it.
        reasons: Gets how the column was found.

    Raises:
        UserError: If there is none, or two that differ.
    """
    if mapping.label is not None or mapping.correct is not None:
        return mapping
    pairs = list(readable_choices(data, mapping))
    if not pairs:
        return replace(mapping, label=next(iter(data.named(LABEL_NAMES)), None))
    used = {*mapping.choices, *columns_in(mapping.question or ""), mapping.id}
    named = [c for c in data.named(LABEL_NAMES) if c not in used]
    readings = {c: _read(data, pairs, mapping, c) for c in named}
    fitting = [c for c, results in readings.items() if results is not None]
    for other in fitting[1:]:
        one, two = readings[fitting[0]], readings[other]
        if one and two and one != two:
            raise UserError(
                f"{data.place}: the label may be {fitting[0]!r} or {other!r}, and they differ. The "
                f"first row has {data.columns[fitting[0]][0]!r} and {data.columns[other][0]!r}. "
                f"Say which with {OPTION_OF['label']}."
            )
    if fitting or named:
        column = (fitting or named)[0]
        reasons.append(Reason("label", column, "its name"))
        return replace(mapping, label=column)
    others = [c for c in data.columns if c not in used]
    texts = [c for c in others if data.is_text(c) and _read(data, pairs, mapping, c)]
    if len(texts) == 1:
        reasons.append(Reason("label", texts[0], "the only column that names choices", "likely"))
        return replace(mapping, label=texts[0])
    numbers = [c for c in others if _read(data, pairs, mapping, c) is not None]
    hint = f" It may be {' or '.join(map(repr, numbers[:4]))}." if numbers else ""
    raise UserError(
        f"{data.place}: the label could not be recognised.{hint} Name its column with "
        f"{OPTION_OF['label']}, or give a file of labels with --data-labels.\n{described(data)}"
    )


def _read(
    data: Columns, pairs: Sequence[tuple[Row, Choices]], mapping: DataMapping, column: str
) -> list[int] | None:
    """Return the correct choices by a column; [] if it fits in several ways, None if in none."""
    if column not in data.columns:
        return None
    rows = [
        Labelled(at, value_at(row, column), choices)
        for at, (row, choices) in enumerate(pairs, start=1)
        if has(row, column)
    ]
    if rows and is_hidden([row.label for row in rows]):
        return []
    try:
        reading = reading_of(rows, mapping, data.place)
    except TwoReadings:
        return []
    except UserError:
        return None
    results = []
    for row in rows:
        try:
            results.append(
                reading.read(correct_one(row.label, len(row.choices.texts)), row.choices)
            )
        except ValueError:
            results.append(-1)
    return results
