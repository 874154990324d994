"""Labelled multiple-choice items, and the checks that they must pass.

docs/method.md defines an item at its beginning and groups under "Protocols".
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pas.characters import HALF_CHARACTERS, has_half_characters
from pas.errors import UserError

# Names that data sets give to their splits, and what they are here.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MAX_CHOICES = 26  # one capital letter each
_SHOWN_PROBLEMS = 8
_PLACE = re.compile(r"(\w+-)?row-\d+")  # as `row_name` gives it, also in a part of the data


@dataclass(frozen=True)
class Example:
    """One item. Its choices are in the order in which the model is shown them.

    Attributes:
        id: Unique within the data set.
        question: The text before the choices.
        choices: At least two distinct, non-empty texts.
        label: Index of the correct choice in `choices`.
        group: Items of one group share a context or template. Under the `sound` protocol they
            are all in the same split.
        stratum: The property that the split balances, by default the label's index.
        fact: A hint that the full prompt shows after the choices (OpenBookQA).
        positions: The index of each shown choice in the data set's own order.
        roles: A role for each choice, such as "biased" or "sycophantic", in the order of
            `choices`; empty if the data set has no roles.
        prefix: Worked examples at the start of the full prompt; statements have none
            (`pas.data.fewshot`). For plain prompts.
        turns: The same for chat prompts: what the user asks and the assistant answers, in turns.
        part: "train", "val" or "test", if the data's own splits are kept.
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
    turns: tuple[tuple[str, str], ...] = ()
    part: str = ""


def rows_refused(
    source: str, problems: Sequence[str], remedy: str = "correct or remove them"
) -> UserError:
    """Return an error that lists the first eight problems and counts the others."""
    shown = "\n  ".join(problems[:_SHOWN_PROBLEMS])
    rest = len(problems) - _SHOWN_PROBLEMS
    more = f"\n  ... and {rest} more" if rest > 0 else ""
    return UserError(
        f"{source}: {len(problems)} problem(s) in the rows; {remedy}:\n  {shown}{more}"
    )


def faults_of(example: Example) -> Iterable[str]:
    """Yield what makes an item unusable."""
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
    if has_half_characters(
        "".join((example.id, example.group, example.question, *example.choices))
    ):
        yield HALF_CHARACTERS
    if example.roles and len(example.roles) != len(example.choices):
        yield f"{len(example.roles)} role(s) for {len(example.choices)} choices"


def row_name(number: int) -> str:
    """Return the name of an item that has no other: its place in the data, counted from 1."""
    return f"row-{number}"


def lasting_name(name: str, example: Example) -> str:
    """Return an item's id or group by a name that holds when other rows are added or removed.

    A name that is a place in the data is replaced by a hash of question and choices, in any order.
    """
    if not _PLACE.fullmatch(name):
        return name
    content = json.dumps([example.question, sorted(example.choices)])
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def group_key(shared: str) -> str:
    """Return the name of a group: blake2b-64 of a text, as 16 hex characters.

    Case and spacing do not matter.
    """
    plain = " ".join(shared.casefold().split())
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()


class ItemAnswer(NamedTuple):
    """An item and the unsteered model's answer.

    Attributes:
        example: The item.
        choice: Index of the chosen choice in `example.choices`.
    """

    example: Example
    choice: int

    @property
    def correct(self) -> bool:
        """Whether the model chose the correct choice."""
        return self.choice == self.example.label


def digest(examples: Sequence[Example]) -> str:
    """Return blake2b-128, as 32 hex characters, of the examples' content and order."""
    lines = [
        json.dumps(
            [e.id, e.question, e.choices, e.label, e.group, e.stratum, e.fact, e.roles]
            + ([e.part] if e.part else [])
        )
        for e in examples
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
