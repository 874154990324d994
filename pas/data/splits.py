"""Split items into train, validation and test, and order their choices.

docs/method.md, "Pipeline", step 1, and "Protocols".
"""

import hashlib
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from pas.data.examples import Example, lasting_name
from pas.errors import UserError

Protocol = Literal["sound", "paper"]
SplitRule = Literal["balanced", "stable"]

SPLITS = ("train", "val", "test")
SHARES = (0.6, 0.2, 0.2)


class Split(NamedTuple):
    """Disjoint items for building (train), selecting (val) and reporting (test)."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]


def order_choices(example: Example, seed: int | str, protocol: Protocol) -> Example:
    """Return the item with its choices in a seeded order; label, roles and positions follow.

    `paper` re-seeds for every question, so all questions with the same number of choices share
    one permutation (docs/method.md, "Flaws of the published protocol", flaw 1). `sound` seeds by
    (seed, item id).
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
    seed: int = 0,
    protocol: Protocol = "sound",
    max_items: int | None = None,
    order_seed: int | None = None,
    rule: SplitRule = "balanced",
) -> Split:
    """Shuffle items by seed, cut them 60/20/20 and order their choices.

    `paper` cuts by row. `sound` keeps groups whole and balances strata, see docs/method.md,
    "Protocols". Items that bring their split (`Example.part`) stay in it.

    Under the rule `stable` a hash of the seed and the group (under `paper` of the item) decides,
    whatever else is in the data: an item that was held out once stays held out when rows are
    added. The shares are 60/20/20 only on average over the groups, strata are not balanced, and
    with few groups a part may be empty. Of more than `max_items`, those with the smallest hashes
    are kept; added rows may take the place of others, and move none to another part.

    Args:
        examples: The items, in any order.
        seed: Seed of the shuffle.
        protocol: "sound" or "paper".
        max_items: How many items are kept after the shuffle; all by default.
        order_seed: Seed of the order of choices; `seed` by default.
        rule: "balanced", or "stable" for data that grow.

    Raises:
        UserError: If there are fewer than 5 items, or fewer than 3 groups under `sound`, or if the
            rule `stable` leaves a part empty.
    """
    pool = sorted(examples, key=lambda e: e.id)
    if rule == "stable":
        pool.sort(key=lambda e: _share(f"order:{seed}", lasting_name(e.id, e)))
        cut = _by_hash(seed, protocol)
    else:
        random.Random(seed).shuffle(pool)
        cut = _by_row if protocol == "paper" else _by_group
    if any(e.part for e in pool):
        pool, parts = _kept(pool, max_items, cut)
    else:
        pool = pool[:max_items]
        parts = cut(pool, SHARES)
    if len(pool) < 5 or not all(parts):
        raise UserError(
            f"{len(pool)} items cannot be cut into train, val and test: "
            + _why(pool, protocol, rule)
        )
    order = seed if order_seed is None else order_seed
    return Split(*(tuple(order_choices(e, order, protocol) for e in part) for part in parts))


def _why(pool: Sequence[Example], protocol: Protocol, rule: SplitRule) -> str:
    groups = len({e.group for e in pool})
    if len(pool) < 5:
        return "at least 5 items are needed."
    if protocol == "sound" and groups < 3:
        return (
            f"they have {groups} group(s), at least 3 are needed. Use a group column (--group-col) "
            "with more groups, or none."
        )
    return (
        f"the rule {rule} left a part empty. Use --split-rule balanced, another seed or more groups"
    )


Cut = Callable[[list[Example], Sequence[float]], tuple[list[Example], ...]]


def _kept(
    pool: list[Example], max_items: int | None, cut: Cut
) -> tuple[list[Example], tuple[list[Example], ...]]:
    """Keep the data's own splits; cut those for validation from train if there is no third one."""
    own = {name: [e for e in pool if e.part == name] for name in SPLITS}
    if not own["test"]:
        own["test"], own["val"] = own["val"], []
    if max_items is not None:
        shares = dict(zip(SPLITS, SHARES, strict=True))
        if not own["val"]:
            shares["train"] += shares["val"]
        own = {name: part[: int(max_items * shares[name])] for name, part in own.items()}
    if not own["val"]:
        whole = SHARES[0] + SHARES[1]
        own["train"], own["val"] = cut(own["train"], (SHARES[0] / whole, SHARES[1] / whole))
    parts = tuple(own[name] for name in SPLITS)
    return [e for part in parts for e in part], parts


def _by_row(pool: list[Example], shares: Sequence[float]) -> tuple[list[Example], ...]:
    ends = [int(len(pool) * sum(shares[:n])) for n in range(1, len(shares))]
    starts = [0, *ends]
    return tuple(pool[a:b] for a, b in zip(starts, [*ends, len(pool)], strict=True))


def _by_hash(seed: int, protocol: Protocol) -> Cut:
    """Return a cut in which each group, or under `paper` each item, has its part by a hash."""

    def cut(pool: list[Example], shares: Sequence[float]) -> tuple[list[Example], ...]:
        parts: tuple[list[Example], ...] = tuple([] for _ in shares)
        ends = [sum(shares[: n + 1]) for n in range(len(shares) - 1)]
        for example in pool:
            name = example.id if protocol == "paper" else example.group
            parts[bisect_right(ends, _share(str(seed), lasting_name(name, example)))].append(
                example
            )
        return parts

    return cut


def _share(salt: str, name: str) -> float:
    """Return a number from 0 to 1 that the two texts determine, evenly spread over names."""
    digest = hashlib.blake2b(f"{salt}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _by_group(pool: list[Example], shares: Sequence[float]) -> tuple[list[Example], ...]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        groups[example.group].append(example)
    total = Counter(e.stratum for e in pool)
    counts: list[Counter[str]] = [Counter() for _ in shares]
    parts: tuple[list[Example], ...] = tuple([] for _ in shares)
    # Sorting is stable, so groups of equal size keep the seeded order of their first items.
    for done, members in enumerate(sorted(groups.values(), key=len, reverse=True)):
        # The last groups go to parts that would otherwise stay empty.
        empty = [part for part in range(len(shares)) if not parts[part]]
        open_parts = empty if len(groups) - done <= len(empty) else range(len(shares))
        strata = Counter(e.stratum for e in members)
        costs = {
            part: sum(
                ((counts[part][s] + n - shares[part] * total[s]) ** 2)
                - ((counts[part][s] - shares[part] * total[s]) ** 2)
                for s, n in strata.items()
            )
            / shares[part]
            for part in open_parts
        }
        best = min(costs, key=costs.__getitem__)
        counts[best].update(strata)
        parts[best].extend(members)
    rank = {e.id: i for i, e in enumerate(pool)}
    for part in parts:
        part.sort(key=lambda e: rank[e.id])
    return parts
