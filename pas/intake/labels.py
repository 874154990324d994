"""Read the labels of a data set: which choice is correct.

One column is read in one way. Where two ways are possible and would give different answers, the
column is refused with both, and the option that decides is named.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any, NamedTuple

from pas.errors import UserError
from pas.intake.choices import Choices, without_letter
from pas.intake.mapping import OPTION_OF, DataMapping, LabelKind

_HIDDEN = {"", "-1", "-1.0", "?", "nan", "none", "null"}
YES, NO = (
    {"yes", "true", "y", "correct", "right", "1"},
    {"no", "false", "n", "incorrect", "wrong", "0"},
)
_MIXED_SHARE = 0.1
Read = Callable[[Any, Choices], int]


class TwoReadings(UserError):
    """A column of labels that can be read in two ways, with different answers."""


class Reading(NamedTuple):
    """One way to read a column of labels.

    Attributes:
        kind: What a label is.
        base: What indices count from; None for other kinds.
        read: Returns the index of the correct choice, or raises ValueError.
    """

    kind: LabelKind
    base: int | None
    read: Read

    def __str__(self) -> str:
        """Say it in words."""
        return {
            "index": f"an index that counts from {self.base}",
            "letter": "the letter or name of a choice",
            "text": "the text of a choice",
            "boolean": "a boolean, true for the choice that says yes or true",
        }[self.kind]

    @property
    def options(self) -> str:
        """The options that decide for it."""
        base = f" {OPTION_OF['label_base']} {self.base}" if self.base is not None else ""
        return f"{OPTION_OF['label_kind']} {self.kind}{base}"


def single(label: Any) -> Any:
    """Return a label without the list around it.

    Raises:
        ValueError: If the list has not exactly one element, so that several choices are correct.
    """
    if not isinstance(label, list | tuple):
        return label
    if len(label) == 1:
        return label[0]
    raise ValueError(f"{len(label)} choices are correct ({label}); exactly one must be")


def correct_one(label: Any, n_choices: int) -> Any:
    """Return the label of a row: of a mark for each choice the marked one's index.

    Raises:
        ValueError: If not exactly one choice is correct.
    """
    marks = isinstance(label, list) and len(label) == n_choices > 1
    if not (marks and all(m in (0, 1) and not isinstance(m, str) for m in label)):
        return single(label)
    if sum(map(int, label)) != 1:
        raise ValueError(f"{sum(map(int, label))} choices are correct; exactly one must be")
    return _Marked(list(map(int, label)).index(1))


class _Marked(int):
    """An index from marks: its base is known."""


def is_hidden(labels: Sequence[Any]) -> bool:
    """Tell whether no row has a label, as in published test parts."""
    return all(
        not isinstance(label, bool | list)
        and str(label if label is not None else "").strip().casefold() in _HIDDEN
        for label in labels
    )


class Labelled(NamedTuple):
    """A row's label and choices.

    Attributes:
        number: Of the row, from 1.
        label: As the row has it.
        choices: Of the row.
    """

    number: int
    label: Any
    choices: Choices


def reading_of(rows: Sequence[Labelled], mapping: DataMapping, place: str) -> Reading:
    """Return the one way to read a column of labels.

    Args:
        rows: Rows that have choices.
        mapping: Its kind, base and values restrict the ways.
        place: Name of the column, for error messages.

    Raises:
        UserError: If no way fits, or several ways fit and differ.
    """
    single_ones = []
    for row in rows:
        try:
            label = correct_one(row.label, len(row.choices.texts))
        except ValueError:
            continue
        if not is_hidden([label]):
            single_ones.append(row._replace(label=label))
    ways = list(_ways(mapping, [row.label for row in single_ones]))
    if mapping.label_kind is None and _all_named(single_ones):
        return Reading("letter", None, _letter)  # the data itself names its choices so
    tried = [[_outcome(way, row) for row in single_ones] for way in ways]
    hits = [sum(r is not None for r in results) for results in tried]
    best = max(hits, default=0)
    if best == 0:
        raise _unknown(single_ones, ways, place)
    kept = [(w, r) for w, r, n in zip(ways, tried, hits, strict=True) if n == best]
    way, results = kept[0]
    unread = [row for row, r in zip(single_ones, results, strict=True) if r is None]
    if len(unread) > _MIXED_SHARE * len(single_ones):
        one = next(row for row, r in zip(single_ones, results, strict=True) if r is not None)
        two = unread[0]
        raise UserError(
            f"{place}: the labels are not all of one kind: row {one.number} has {one.label!r}, "
            f"{way}; row {two.number} has {two.label!r} for the choices "
            f"{' | '.join(two.choices.texts)}, and cannot be read so. Write all labels in one way, "
            f"name another column with {OPTION_OF['label']}, or say what the labels mean with "
            f"{OPTION_OF['label_values']}."
        )
    for other, others in kept[1:]:
        for row, one_choice, two_choice in zip(single_ones, results, others, strict=True):
            if one_choice is None or two_choice is None or one_choice == two_choice:
                continue
            texts = row.choices.texts
            raise TwoReadings(
                f"{place}: the labels can be read in two ways. Row {row.number} has {row.label!r} "
                f"for the choices {' | '.join(texts)}. Read as {way} the correct one is "
                f"{texts[one_choice]!r}; read as {other} it is {texts[two_choice]!r}. Say which: "
                f"{way.options}, or {other.options}. (The label base is 0 or 1.)"
            )
    return way


def _all_named(rows: Sequence[Labelled]) -> bool:
    """Tell whether every label is a name that the data give to a choice."""
    return bool(rows) and all(
        [_plain(n) for n in row.choices.names].count(_plain(str(row.label))) == 1
        and not isinstance(row.label, bool | _Marked)
        for row in rows
    )


def with_reading(mapping: DataMapping, reading: Reading) -> DataMapping:
    """Return the mapping with the way in which labels are read."""
    if mapping.label_values:
        return mapping
    base = reading.base
    return replace(mapping, label_kind=reading.kind, label_base=base)  # type: ignore[arg-type]


def _outcome(way: Reading, row: Labelled) -> int | None:
    try:
        return way.read(row.label, row.choices)
    except ValueError:
        return None


def _ways(mapping: DataMapping, labels: Sequence[Any]) -> Iterator[Reading]:
    """Yield the ways that the mapping and the labels as a whole allow."""
    if mapping.label_values:
        yield Reading("text", None, _by_values(mapping.label_values))
        return
    kind, base = mapping.label_kind, mapping.label_base
    if kind == "boolean" or (kind is None and base is None and _booleans(labels)):
        yield Reading("boolean", None, _boolean)
        return
    plain: list[Reading] = [Reading("text", None, _text), Reading("letter", None, _letter)]
    if base is None or kind in ("text", "letter"):
        yield from (way for way in plain if kind in (None, way.kind))
    if kind in (None, "index"):
        # A label 0 settles that indices count from 0; no data set numbers its choices both ways.
        bases = (base,) if base is not None else (0,) if any(map(_is_zero, labels)) else (0, 1)
        yield from (Reading("index", b, _index(b)) for b in bases)


def _booleans(labels: Sequence[Any]) -> bool:
    return bool(labels) and all(
        isinstance(label, bool)
        or (isinstance(label, str) and label.strip().casefold() in ("true", "false"))
        for label in labels
    )


def _is_zero(label: Any) -> bool:
    return isinstance(label, _Marked) or _number(label) == 0


def _number(label: Any) -> int | None:
    """Return a whole number, also of "2" and 2.0; None for all else, booleans included."""
    if isinstance(label, bool) or not isinstance(label, int | float | str):
        return None
    try:
        value = float(label)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _text(label: Any, choices: Choices) -> int:
    wanted = "" if label is None or isinstance(label, bool) else str(label).strip()
    for same in (str, _plain, lambda text: _plain(without_letter(text))):
        hits = [i for i, text in enumerate(choices.texts) if wanted and same(text) == same(wanted)]
        if len(hits) == 1:
            return hits[0]
    raise ValueError(_no_choice(label, choices))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _letter(label: Any, choices: Choices) -> int:
    name = str(label).strip()
    for names in (choices.names, [_plain(n) for n in choices.names]):
        wanted = name if names is choices.names else _plain(name)
        if wanted and list(names).count(wanted) == 1:
            return list(names).index(wanted)
    letter = name.strip("()[].:; ").upper()
    if len(letter) != 1 or letter not in ascii_uppercase or isinstance(label, bool):
        raise ValueError(_no_choice(label, choices))
    return _in_range(ascii_uppercase.index(letter), label, choices, "")


def _index(base: int) -> Read:
    def read(label: Any, choices: Choices) -> int:
        number = _number(label)
        if number is None:
            raise ValueError(_no_choice(label, choices))
        start = 0 if isinstance(label, _Marked) else base
        return _in_range(number - start, label, choices, f", counted from {start}")

    return read


def _in_range(index: int, label: Any, choices: Choices, counted: str) -> int:
    if not 0 <= index < len(choices.texts):
        raise ValueError(
            f"label {label!r} is out of range for {len(choices.texts)} choices{counted}"
        )
    return index


def _boolean(label: Any, choices: Choices) -> int:
    said = str(single(label)).strip().casefold()
    if said not in ("true", "false", "0", "1"):
        raise ValueError(f"label {label!r} is not true or false")
    for texts in (choices.texts, choices.names):
        plain = [_plain(text).strip(".!") for text in texts]
        yes = [i for i, text in enumerate(plain) if text in YES]
        no = [i for i, text in enumerate(plain) if text in NO]
        if len(yes) == len(no) == 1 and len(texts) == 2:
            return (yes if said in ("true", "1") else no)[0]
    raise ValueError(
        f"label {label!r} is a boolean, and the choices {' | '.join(choices.texts)} do not say "
        f"which of them is true: give {OPTION_OF['label_values']} true=...,false=..."
    )


def _by_values(pairs: Sequence[str]) -> Read:
    meanings = {}
    for pair in pairs:
        value, separator, meaning = pair.partition("=")
        if not separator:
            raise UserError(f"{OPTION_OF['label_values']} {pair}: give value=choice, such as 1=yes")
        meanings[_plain(value)] = meaning.strip()

    def read(label: Any, choices: Choices) -> int:
        meaning = meanings.get(_plain(str(label)))
        if meaning is None:
            raise ValueError(f"label {label!r} is not one of {', '.join(meanings)}")
        for way in (_text, _letter, _index(0)):
            try:
                return way(meaning, choices)
            except ValueError:
                continue
        raise ValueError(f"label {label!r} means {meaning!r}, which is no choice of this row")

    return read


def _no_choice(label: Any, choices: Choices) -> str:
    return (
        f"label {label!r} is not an index, a letter or one of the choices "
        f"{' | '.join(choices.texts)}"
    )


def _unknown(rows: Sequence[Labelled], ways: Sequence[Reading], place: str) -> UserError:
    if not rows:
        return UserError(f"{place}: no row has exactly one correct choice")
    reason = _no_choice(rows[0].label, rows[0].choices)
    if len(ways) == 1:
        try:
            ways[0].read(rows[0].label, rows[0].choices)
        except ValueError as error:
            reason = str(error)
    return UserError(
        f"{place}: the labels cannot be read. Row {rows[0].number}: {reason}. Name another column "
        f"with {OPTION_OF['label']}, or say what the labels mean with {OPTION_OF['label_values']}."
    )
