"""Labelled multiple-choice items: what they are, which are refused, how they are split.

METHOD.md, "Pipeline of one (model, task, seed)", step 1, and "Two protocols".
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pas.errors import UserError

MAX_CHOICES = 26  # one capital letter each
_SHOWN_PROBLEMS = 8


@dataclass(frozen=True)
class Example:
    """One item, its choices in the order in which the model is shown them.

    Attributes:
        id: Unique within the data set.
        question: Everything that precedes the choices.
        choices: At least two distinct, non-empty texts.
        label: Index of the correct choice in `choices`.
        group: Items of one group share a context or template and never straddle two splits
            under the `sound` protocol.
        stratum: What the split should balance; the label's index where a loader sets nothing.
        fact: A hint that the full prompt repeats after the choices (OpenBookQA).
        positions: For each shown choice its index in the data set's own order.
        roles: What each shown choice stands for beyond right and wrong, such as "biased" or
            "sycophantic", in the order of `choices`; empty where a data set names none.
        prefix: Worked examples that the full prompt begins with; statements have none
            (`pas.data.fewshot`).
    """

    id: str
    question: str
    choices: tuple[str, ...]
    label: int
    group: str
    stratum: str = ""
    fact: str | None = None
    positions: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    prefix: str = ""


def validate(examples: Sequence[Example], source: str) -> None:
    """Refuse a data set with bad rows, naming every kind of problem by row.

    Args:
        examples: Items in row order; row numbers in the message count from 1.
        source: Where they came from, for the message.

    Raises:
        UserError: If the set is empty or any row is unusable. Nothing is dropped silently.
    """
    if not examples:
        raise UserError(f"{source}: no rows. Give a data set with at least one labelled item.")
    problems = []
    seen: dict[str, int] = {}
    for row, example in enumerate(examples, start=1):
        for reason in _faults(example):
            problems.append(f"row {row} (id {example.id!r}): {reason}")
        if example.id in seen:
            problems.append(f"row {row}: id {example.id!r} was used by row {seen[example.id]}")
        seen.setdefault(example.id, row)
    if problems:
        raise rows_refused(source, problems)


def rows_refused(source: str, problems: Sequence[str]) -> UserError:
    """Return the error that lists the first problems and counts the rest."""
    shown = "\n  ".join(problems[:_SHOWN_PROBLEMS])
    rest = len(problems) - _SHOWN_PROBLEMS
    more = f"\n  ... and {rest} more" if rest > 0 else ""
    return UserError(
        f"{source}: {len(problems)} problem(s) in the rows; correct or remove them:\n"
        f"  {shown}{more}"
    )


def _faults(example: Example) -> Iterable[str]:
    if not example.question.strip():
        yield "the question is empty"
    if len(example.choices) < 2:
        yield f"{len(example.choices)} choice(s); at least 2 are needed"
    if len(example.choices) > MAX_CHOICES:
        yield f"{len(example.choices)} choices; at most {MAX_CHOICES} can be lettered"
    if any(not choice.strip() for choice in example.choices):
        yield "a choice is empty"
    if len(set(example.choices)) != len(example.choices):
        yield "two choices are the same text"
    if not 0 <= example.label < len(example.choices):
        yield f"label {example.label} is out of range for {len(example.choices)} choices"
    if example.roles and len(example.roles) != len(example.choices):
        yield f"{len(example.roles)} role(s) for {len(example.choices)} choices"


class ItemAnswer(NamedTuple):
    """An item and the choice that the unsteered model picked, by its shown index."""

    example: Example
    choice: int

    @property
    def correct(self) -> bool:
        """Whether the model was right."""
        return self.choice == self.example.label


def digest(examples: Sequence[Example]) -> str:
    """Return 32 hex characters that identify the examples' content and order."""
    lines = [
        json.dumps([e.id, e.question, e.choices, e.label, e.group, e.stratum, e.fact, e.roles])
        for e in examples
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
