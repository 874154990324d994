"""What is worth knowing about a data set before it is used: counts, and what may be wrong."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pas.data.examples import Example
from pas.intake.cells import columns_in, flat_columns
from pas.intake.items import Intake
from pas.intake.rows import readable

_ONE_PLACE, _SOME = 0.9, 0.02
_LONG = 80  # characters, on average, of a text that a question may need


class Counts(NamedTuple):
    """A data set in numbers.

    Attributes:
        items: How many items.
        choices: Number of choices to number of items.
        labels: Index of the correct choice, in the data set's own order, to number of items.
        groups: How many groups.
        skipped: Rows that were left out.
    """

    items: int
    choices: dict[int, int]
    labels: dict[int, int]
    groups: int
    skipped: int


def counts(taken: Intake) -> Counts:
    """Count a data set."""
    examples = taken.examples
    return Counts(
        len(examples),
        dict(sorted(Counter(len(e.choices) for e in examples).items())),
        dict(sorted(Counter(e.label for e in examples).items())),
        len({e.group for e in examples}),
        len(taken.skipped),
    )


def warnings(taken: Intake) -> list[str]:
    """Return what may be wrong with a data set, in sentences that say what to do."""
    examples = taken.examples
    found = [
        *_labels(taken),
        *_repeated(examples),
        *_own_letters(examples),
        *_in_question(examples),
        *_unused(taken),
    ]
    if taken.skipped:
        share = len(taken.skipped) / (len(taken.skipped) + len(examples))
        found.append(f"{len(taken.skipped)} rows ({share:.1%}) were left out.")
    return found


def _labels(taken: Intake) -> Iterator[str]:
    """The correct answer is always at one place."""
    place, n = Counter(e.label for e in taken.examples).most_common(1)[0]
    if n < _ONE_PLACE * len(taken.examples):
        return
    fixed = taken.mapping is not None and taken.mapping.correct is not None
    why = "because the data names it apart" if fixed else "in the data's own order"
    yield (
        f"The correct choice is number {place + 1} in {n} of {len(taken.examples)} items, {why}. "
        "The protocol sound shuffles choices item by item; the protocol paper does not, and its "
        "gain may then be one of letters."
    )


def _repeated(examples: Sequence[Example]) -> Iterator[str]:
    """Items, or nearly the same questions, occur more than once."""
    same = Counter((e.question, tuple(sorted(e.choices))) for e in examples)
    twice = sum(n - 1 for n in same.values())
    if twice:
        yield f"{twice} items repeat the question and the choices of another item."
    groups: dict[str, set[str]] = {}
    for example in examples:
        groups.setdefault(_gist(example.question), set()).add(example.group)
    alike = sum(len(members) for members in groups.values() if len(members) > 1)
    if alike > max(1, _SOME * len(examples)):
        yield (
            f"{alike} groups have a question that differs from another group's in numbers, case or "
            "punctuation alone. Such items may be on both sides of the split: give the column that "
            "they share with --group-col."
        )


def _gist(question: str) -> str:
    return " ".join(re.findall(r"[^\W\d]+", question.casefold()))


def _own_letters(examples: Sequence[Example]) -> Iterator[str]:
    """Choices begin with a letter, which contradicts the letter that the prompt gives them."""
    mark = re.compile(r"\(?[A-Ha-h]\s?[).:]\s+\S")
    n = sum(sum(bool(mark.match(c)) for c in e.choices) > 1 for e in examples)
    if n > _SOME * len(examples):
        yield (
            f"The choices of {n} items begin with letters of their own. Remove them with "
            "--strip-letters yes: choices are shuffled and lettered anew."
        )


def _in_question(examples: Sequence[Example]) -> Iterator[str]:
    """The question repeats the choices, or the choices repeat the question."""
    n = sum(all(len(c) > 3 and c in e.question for c in e.choices) for e in examples)
    if n > max(1, 0.1 * len(examples)):
        yield f"The question contains all choices in {n} items; the choices are listed again."
    n = sum(any(len(e.question) > 20 and e.question in c for c in e.choices) for e in examples)
    if n > max(1, _SOME * len(examples)):
        yield f"A choice contains the question in {n} items; the model would read it twice."


def unused_columns(taken: Intake) -> list[str]:
    """Return the columns that the mapping does not use."""
    mapping = taken.mapping
    if mapping is None:
        return []
    used = {
        *columns_in(mapping.question or ""),
        *mapping.choices,
        *mapping.incorrect,
        mapping.correct,
        mapping.label,
        mapping.group,
        mapping.id,
        mapping.candidate,
    }
    columns = flat_columns([row for row in taken.part.rows[:200] if readable(row)])
    # A column may hold what the mapping names by a path into it, or the reverse.
    return [
        name
        for name in columns
        if name not in used and not any(str(u).startswith(f"{name}.") for u in used)
    ]


def _unused(taken: Intake) -> Iterator[str]:
    """Long texts are in columns that the mapping does not use."""
    mapping, unused = taken.mapping, unused_columns(taken)
    if mapping is None or mapping.question is None:
        return
    columns = flat_columns([row for row in taken.part.rows[:200] if readable(row)])
    for name in unused:
        values = columns[name]
        texts = [v for v in values if isinstance(v, str)]
        if not texts or sum(map(len, texts)) < _LONG * len(values):
            continue
        template = (
            "{"
            + name
            + "}\\n"
            + (mapping.question if "{" in mapping.question else "{" + mapping.question + "}")
        )
        yield (
            f"The column {name!r} holds long texts and is not used. If a question needs it: "
            f"--question-col '{template}'."
        )
