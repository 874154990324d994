"""From the rows of a labelled data set to validated examples, by a mapping.

A bad row is refused with its number and the reason, or left out and counted where the user asks for
that. docs/data.md shows every shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pas.data.examples import PARTS, Example, faults_of, group_key, row_name, rows_refused
from pas.errors import UserError
from pas.intake.candidates import candidates_as_items
from pas.intake.cells import columns_in, flat_columns, has, text_of, value_at
from pas.intake.choices import Choices, choices_of
from pas.intake.columns import Reason
from pas.intake.labels import Labelled, correct_one, is_hidden, reading_of, with_reading
from pas.intake.mapping import DataMapping
from pas.intake.recognition import recognise
from pas.intake.rows import BadRow, Row, readable
from pas.intake.sources import Part, Source, part_names, read_part

_LONG_NAME = 60
Parse = Callable[[Row, int], Example]


@dataclass(frozen=True)
class BadRows:
    """Whether bad rows are refused or left out. Each field is described in its metadata."""

    skip: bool = field(
        default=False,
        metadata={
            "option": "skip_bad_rows",
            "description": "Leave out rows that cannot be used, and keep their list with the run.",
        },
    )
    share: float = field(
        default=0.1,
        metadata={
            "option": "max_bad_rows",
            "description": "Largest share of rows that may be left out, from 0 to 1.",
        },
    )

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            UserError: If the share is not from 0 to 1.
        """
        if not 0 <= self.share <= 1:
            raise UserError(f"--max-bad-rows {self.share:g}: give a share from 0 to 1")


class Intake(NamedTuple):
    """A data set as it was read.

    Attributes:
        examples: The items, in the order of the rows.
        mapping: How rows became items, complete: another reading by it recognises nothing. None
            for a built-in task.
        reasons: How each part of the mapping was found; empty for what was given.
        skipped: The rows that were left out, with the reason.
        part: The part of the source that was read.
        preference: Whether the choices are texts to be preferred, so that their likelihood is
            scored and not a letter.
    """

    examples: list[Example]
    mapping: DataMapping | None
    reasons: tuple[Reason, ...]
    skipped: tuple[str, ...]
    part: Part
    preference: bool = False


def read_examples(
    source: str | Path | Source,
    mapping: DataMapping | None = None,
    bad_rows: BadRows | None = None,
) -> list[Example]:
    """Read a labelled data set from a file, a folder, a URL or a hub id.

    Args:
        source: A path, URL or hub id, or a `Source` that also says how to read it.
        mapping: What holds question, choices and label; what is not given is recognised.
        bad_rows: Whether bad rows are left out; by default they are refused.

    Returns:
        One example per item, in the order of the rows. `take_in` also returns the mapping.

    Raises:
        UserError: If the source is absent, the mapping cannot be recognised without doubt, or any
            row is unusable.
    """
    source = source if isinstance(source, Source) else Source(str(source))
    return take_in(source, mapping, bad_rows).examples


def take_in(
    source: Source,
    mapping: DataMapping | None = None,
    bad_rows: BadRows | None = None,
    parse: Parse | None = None,
) -> Intake:
    """Read a labelled data set and say how it was read; see `read_examples`.

    Args:
        source: Where the rows come from.
        mapping: What holds question, choices and label; what is not given is recognised.
        bad_rows: Whether bad rows are left out; by default they are refused.
        parse: Reads the rows of a built-in task, instead of a mapping.

    Raises:
        UserError: As `read_examples` does.
    """
    part, bad_rows = read_part(source), bad_rows or BadRows()
    place = f"--data {source.name}" + (f", split {part.name}" if part.name else "")
    try:
        if parse is not None:
            examples, skipped = usable_rows(part.rows, parse, place, bad_rows)
            return Intake(examples, None, (), skipped, part)
        return _examples(part, mapping or DataMapping(), bad_rows, place)
    except UserError as error:
        if part.name and part.others:
            raise UserError(
                f"{error}\nThe split {part.name} was read; the source has also "
                f"{', '.join(part.others)}: choose with --data-split."
            ) from error
        raise


def take_in_parts(
    source: Source,
    mapping: DataMapping | None = None,
    bad_rows: BadRows | None = None,
    parse: Parse | None = None,
) -> Intake:
    """Read all splits of a source; `Example.part` says which one an item is of.

    Ids begin with the split's name. What is recognised in the first split holds for the others.

    Raises:
        UserError: As `take_in` does, and if the source has no splits for training and testing.
    """
    names = sorted(part_names(source), key=lambda n: PARTS.get(n, n), reverse=True)
    unknown = [n for n in names if n not in PARTS]
    if unknown or len(names) < 2:
        raise UserError(
            f"--keep-splits: {source.name} has {', '.join(n for n in names if n) or 'no splits'}; "
            f"needed are train and one or two of {', '.join(n for n in PARTS if n != 'train')}"
        )
    taken: list[Intake] = []
    for name in names:
        known = taken[0].mapping if taken else mapping
        taken.append(take_in(replace(source, split=name), known, bad_rows, parse))
    examples = [
        replace(e, id=f"{name}-{e.id}", part=PARTS[name])
        for name, one in zip(names, taken, strict=True)
        for e in one.examples
    ]
    skipped = tuple(
        f"split {n}, {p}" for n, one in zip(names, taken, strict=True) for p in one.skipped
    )
    return taken[0]._replace(examples=examples, skipped=skipped)


def parse_rows(rows: Sequence[Row | BadRow], parse: Parse, place: str) -> list[Example]:
    """Apply `parse(row, number)` to every row, check the examples, and refuse bad rows.

    Raises:
        UserError: If there are no rows, or bad ones; see `usable_rows`.
    """
    return usable_rows(rows, parse, place, BadRows())[0]


def usable_rows(
    rows: Sequence[Row | BadRow], parse: Parse, place: str, bad_rows: BadRows
) -> tuple[list[Example], tuple[str, ...]]:
    """Apply `parse(row, number)` to every row and check the examples.

    Args:
        rows: The rows, in order.
        parse: Takes a row and its number, counted from 1.
        place: Name of the source, for error messages.
        bad_rows: Whether bad rows are left out or refused.

    Returns:
        The examples, and the rows that were left out with the reasons.

    Raises:
        UserError: If there are no rows, or bad ones that may not be left out: `parse` raised
            ValueError, KeyError, TypeError or IndexError, or an example has a fault. The message
            lists the rows.
    """
    if not rows:
        raise UserError(f"{place}: no rows. Give a data set with at least one labelled item.")
    examples: list[Example] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadRow):
            problems.append(f"row {number}: {row.reason}")
            continue
        try:
            example = parse(row, number)
        except KeyError as error:
            problems.append(f"row {number}: there is no field {error}")
            continue
        except (ValueError, TypeError, IndexError) as error:
            problems.append(f"row {number}: {error}")
            continue
        faults = list(faults_of(example))
        if example.id in seen:
            faults.append(f"id {example.id!r} was used by row {seen[example.id]}")
        seen.setdefault(example.id, number)
        if faults:
            problems.append(f"row {number} (id {example.id!r}): {'; '.join(faults)}")
        else:
            examples.append(example)
    refuse_bad_rows(problems, len(rows), place, bad_rows)
    if not examples:
        raise rows_refused(place, problems, "no row is left; correct them")
    return examples, tuple(problems)


def refuse_bad_rows(problems: Sequence[str], n_rows: int, place: str, bad_rows: BadRows) -> None:
    """Refuse bad rows unless they may be left out and are few.

    Raises:
        UserError: If they are refused. The message lists them.
    """
    if not problems:
        return
    if not bad_rows.skip:
        raise rows_refused(place, problems, "correct them, or leave them out with --skip-bad-rows")
    share = len(problems) / n_rows
    if share > bad_rows.share:
        raise rows_refused(
            place,
            problems,
            f"they are {share:.1%} of {n_rows} rows, more than --max-bad-rows {bad_rows.share:g}",
        )


def _examples(part: Part, mapping: DataMapping, bad_rows: BadRows, place: str) -> Intake:
    columns = flat_columns(row for row in part.rows if readable(row))
    _check_columns(columns, mapping, part.rows, place)
    try:
        recognised = recognise(part.rows, columns, mapping, place)
    except ValueError as error:  # a value is no text where the others of its column are
        raise UserError(
            f"{place}: the columns cannot be recognised: {error}. Name them with --question-col, "
            "--choices-col and --label-col, or correct the row."
        ) from error
    full, rows = recognised.mapping, part.rows
    if full.candidate is not None:
        rows = candidates_as_items(rows, full)
    choices, labelled = _all_choices(rows, full)
    if full.label is not None and full.correct is None:
        if labelled and is_hidden([row.label for row in labelled]):
            raise UserError(
                f"{place}: no row has a label: the column {full.label!r} holds "
                f"{labelled[0].label!r} in all of them. Give another split, or the labels."
            )
        where = f"{place}, column {full.label!r}"
        reading = reading_of(labelled, full, where)
        full, read = with_reading(full, reading), reading.read

    def parse(row: Row, number: int) -> Example:
        found = choices[number - 1]
        if isinstance(found, Exception):
            raise found
        question, texts, names = found
        label = 0
        if full.correct is None:
            one = correct_one(value_at(row, str(full.label)), len(texts))
            label = read(one, Choices(question, texts, names))
        return Example(
            id=text_of(value_at(row, full.id)) if full.id else row_name(number),
            question=question,
            choices=texts,
            label=label,
            group=_group(row, full.group) if full.group else row_name(number),
            stratum=str(label),
        )

    examples, skipped = usable_rows(rows, parse, place, bad_rows)
    return Intake(examples, full, recognised.reasons, skipped, part, recognised.preference)


def _group(row: Row, column: str) -> str:
    """Return a group's name; of a passage its hash."""
    text = text_of(value_at(row, column))
    return text if len(text) <= _LONG_NAME else group_key(text)


def _all_choices(
    rows: Sequence[Row | BadRow], mapping: DataMapping
) -> tuple[list[Choices | Exception], list[Labelled]]:
    """Return each row's choices, or why it has none, and the labels of those that have some."""
    choices: list[Choices | Exception] = []
    labelled: list[Labelled] = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadRow):
            choices.append(ValueError(row.reason))
            continue
        try:
            found = choices_of(row, mapping)
        except (KeyError, ValueError) as error:
            choices.append(error)
            continue
        choices.append(found)
        if mapping.label is not None and has(row, mapping.label):
            labelled.append(Labelled(number, value_at(row, mapping.label), found))
    return choices, labelled


def _check_columns(
    columns: dict[str, list[Any]], mapping: DataMapping, rows: Sequence[Row | BadRow], place: str
) -> None:
    """Refuse a mapping that names a column that no row has."""
    first = next((row for row in rows if readable(row)), None)
    if first is None:
        raise rows_refused(place, [r.reason for r in rows if isinstance(r, BadRow)])
    named: dict[str, Sequence[str]] = {
        "question": columns_in(mapping.question) if mapping.question else (),
        "choices": mapping.choices,
        "incorrect": mapping.incorrect,
        **{
            name: (getattr(mapping, name),)
            for name in ("correct", "candidate", "label", "group", "id")
            if getattr(mapping, name) is not None
        },
    }
    for name, places in named.items():
        for column in places:
            if column not in columns and not any(has(row, column) for row in rows if readable(row)):
                option = DataMapping.__dataclass_fields__[name].metadata["option"]
                raise UserError(
                    f"{place}: there is no column {column!r}; the columns are "
                    f"{', '.join(map(repr, columns))}. Correct DataMapping({name}=...) "
                    f"(--{option.replace('_', '-')} on the command line)."
                )
