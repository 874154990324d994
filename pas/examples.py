"""Labelled multiple-choice items: what they are, which are refused, how they are split.

METHOD.md, "Pipeline of one (model, task, seed)", step 1, and "Two protocols".
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pas.errors import UserError

Protocol = Literal["sound", "paper"]
SPLITS = ("train", "val", "test")
SHARES = (0.6, 0.2, 0.2)
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
        prefix: Worked examples that the full prompt begins with (`pas.shots`); statements do not.
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


class Split(NamedTuple):
    """Disjoint items for building (train), selecting (val) and reporting (test)."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]


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


def order_choices(example: Example, seed: int | str, protocol: Protocol) -> Example:
    """Show the choices in a seeded order.

    `paper` re-seeds for every question, so all questions with the same number of choices share
    one permutation (METHOD.md, flaw 1); `sound` seeds by (seed, item id).
    """
    rng = random.Random(seed if protocol == "paper" else f"{seed}:{example.id}")
    order = list(range(len(example.choices)))
    rng.shuffle(order)
    return replace(
        example,
        choices=tuple(example.choices[i] for i in order),
        label=order.index(example.label),
        positions=tuple(example.positions[i] for i in order) if example.positions else tuple(order),
        roles=tuple(example.roles[i] for i in order) if example.roles else (),
    )


def split(
    examples: Sequence[Example],
    seed: int,
    protocol: Protocol,
    max_items: int | None,
    order_seed: int | None = None,
) -> Split:
    """Shuffle by seed, cap, cut 60/20/20 and order the choices (by `order_seed` if given).

    `paper` cuts by row. `sound` keeps groups whole and balances strata: groups, largest first,
    go where they leave the per-stratum counts nearest to 60/20/20.

    Raises:
        UserError: If there are too few items or groups for three parts.
    """
    pool = sorted(examples, key=lambda e: e.id)
    random.Random(seed).shuffle(pool)
    pool = pool[:max_items]
    parts = _by_row(pool) if protocol == "paper" else _by_group(pool)
    if not all(parts):
        raise UserError(
            f"{len(pool)} items cannot be cut into train, val and test: "
            + (
                f"they have {len({e.group for e in pool})} group(s), at least 3 are needed. "
                "Give a finer --group-col or none."
                if len(pool) >= 5 and protocol == "sound"
                else "at least 5 items are needed."
            )
        )
    order = seed if order_seed is None else order_seed
    return Split(*(tuple(order_choices(e, order, protocol) for e in part) for part in parts))


def _by_row(pool: list[Example]) -> tuple[list[Example], ...]:
    first, second = int(len(pool) * SHARES[0]), int(len(pool) * (SHARES[0] + SHARES[1]))
    return pool[:first], pool[first:second], pool[second:]


def _by_group(pool: list[Example]) -> tuple[list[Example], ...]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        groups[example.group].append(example)
    total = Counter(e.stratum for e in pool)
    held: list[Counter[str]] = [Counter() for _ in SPLITS]
    parts: tuple[list[Example], ...] = ([], [], [])
    # Sorting is stable, so groups of equal size keep the seeded order of their first items.
    for done, members in enumerate(sorted(groups.values(), key=len, reverse=True)):
        # The last groups are kept for parts that would otherwise stay empty.
        empty = [part for part in range(len(SPLITS)) if not parts[part]]
        open_parts = empty if len(groups) - done <= len(empty) else range(len(SPLITS))
        strata = Counter(e.stratum for e in members)
        costs = {
            part: sum(
                ((held[part][s] + n - SHARES[part] * total[s]) ** 2)
                - ((held[part][s] - SHARES[part] * total[s]) ** 2)
                for s, n in strata.items()
            )
            / SHARES[part]
            for part in open_parts
        }
        best = min(costs, key=costs.__getitem__)
        held[best].update(strata)
        parts[best].extend(members)
    place = {e.id: i for i, e in enumerate(pool)}
    for part in parts:
        part.sort(key=lambda e: place[e.id])
    return parts
