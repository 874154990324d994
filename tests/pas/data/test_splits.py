"""Choice order and splits."""

import random
from collections import Counter

import pytest

from pas.data.examples import Example
from pas.data.splits import SPLITS, Protocol, order_choices, split
from pas.errors import UserError
from tests.helpers.examples import item


def grouped(n_groups: int, size: int) -> list[Example]:
    return [item(g * size + i, group=f"g{g}") for g in range(n_groups) for i in range(size)]


def test_paper_shares_one_permutation_and_sound_orders_each_item() -> None:
    raw = [item(at, choices=("w", "x", "y", "z")) for at in range(40)]
    orders = {protocol: [order_choices(e, 5, protocol) for e in raw]
              for protocol in ("paper", "sound")}  # fmt: skip
    assert len({e.positions for e in orders["paper"]}) == 1
    assert len({e.positions for e in orders["sound"]}) > 10
    for shown in (*orders["paper"], *orders["sound"]):
        before = raw[int(shown.id[1:])]
        assert shown.choices == tuple(before.choices[i] for i in shown.positions)
        assert shown.choices[shown.label] == before.choices[before.label]
    # Roles move with their choices, and an item without any stays so.
    named = order_choices(item(choices=tuple("wxyz"), roles=tuple("WXYZ")), 5, "sound")
    assert named.choices != tuple("wxyz") and "".join(named.roles) == "".join(named.choices).upper()
    assert all(not e.roles for e in orders["sound"])
    # Ordering again composes: positions still point into the data set's own order.
    twice = order_choices(orders["sound"][0], "again", "sound")
    assert twice.choices == tuple(raw[0].choices[i] for i in twice.positions)


def test_sound_keeps_groups_whole_and_balances_strata() -> None:
    rng = random.Random(1)
    pool = [item(at, group=f"g{at // 8}", stratum=rng.choice(["p", "p", "q"])) for at in range(800)]
    parts = split(pool, 3, "sound", None)
    seen = [{e.group for e in part} for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert sorted(e.id for part in parts for e in part) == sorted(e.id for e in pool)
    total = Counter(e.stratum for e in pool)
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        held = Counter(e.stratum for e in part)
        for stratum in total:
            assert held[stratum] / total[stratum] == pytest.approx(share, abs=0.02)


def test_paper_cuts_rows_and_lets_groups_straddle() -> None:
    parts = split(grouped(10, 10), 3, "paper", None)
    assert [len(part) for part in parts] == [60, 20, 20]
    assert {e.group for e in parts.train} & {e.group for e in parts.test}
    assert len({e.positions for part in parts for e in part}) == 1


@pytest.mark.parametrize("protocol", ["paper", "sound"])
def test_an_order_seed_of_its_own_leaves_the_split_alone(protocol: str) -> None:
    pool = grouped(20, 3)
    plain, fixed, other = (split(pool, seed, protocol, None, order)
                           for seed, order in ((3, None), (3, 9), (4, 9)))  # fmt: skip
    assert [[e.id for e in part] for part in plain] == [[e.id for e in part] for part in fixed]
    shown = {e.id: e.positions for part in fixed for e in part}
    assert shown == {e.id: e.positions for part in other for e in part}
    assert shown != {e.id: e.positions for part in plain for e in part}
    assert split(pool, 3, protocol, None, 3) == plain


@pytest.mark.parametrize("protocol", ["paper", "sound"])
def test_a_split_depends_on_the_seed_and_not_on_the_input_order(protocol: str) -> None:
    pool = grouped(20, 3)
    assert split(pool, 3, protocol, None) == split(pool[::-1], 3, protocol, None)
    assert split(pool, 3, protocol, None).test != split(pool, 4, protocol, None).test
    capped = split(pool, 3, protocol, 25)
    assert sum(map(len, capped)) == 25
    assert [len(p) for p in split(pool, 3, protocol, 10**6)] == [36, 12, 12]


@pytest.mark.parametrize("protocol", ["paper", "sound"])
@pytest.mark.parametrize("max_items", [None, 300])
@pytest.mark.parametrize("seed", [0, 7])
def test_stable_moves_no_item_when_others_come_and_go(
    protocol: Protocol, max_items: int | None, seed: int
) -> None:
    pool = grouped(150, 4)
    grown = random.Random(seed).sample([*pool, *(item(900 + i) for i in range(200))], 800)
    before, after = (split(p, seed, protocol, max_items, rule="stable") for p in (pool, grown))
    part_of = {e.id: part for part, held in zip(SPLITS, after, strict=True) for e in held}
    kept = [(e.id, part) for part, held in zip(SPLITS, before, strict=True) for e in held]
    assert all(part_of.get(name, part) == part for name, part in kept)
    # Of 800 items, 300 are kept: of 300 that were, three quarters stay.
    assert sum(name in part_of for name, _ in kept) >= (600 if max_items is None else 200)
    assert sum(map(len, after)) == (max_items or 800)
    # Removing rows is the same, read backwards. Balanced splits do move items.
    moved = split(grown, seed, protocol, max_items)
    there = {e.id: part for part, held in zip(SPLITS, moved, strict=True) for e in held}
    plain = split(pool, seed, protocol, max_items)
    assert any(
        there.get(e.id, part) != part
        for part, held in zip(SPLITS, plain, strict=True) for e in held
    )  # fmt: skip


def test_stable_keeps_groups_whole_and_shares_on_average() -> None:
    pool = grouped(3000, 2)
    parts = split(pool, 1, "sound", None, rule="stable")
    groups = [{e.group for e in part} for part in parts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    # Three standard errors of 3,000 groups are 0.027 for a share of 0.6.
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert len(part) / 6000 == pytest.approx(share, abs=0.027)
    assert parts.test != split(pool, 2, "sound", None, rule="stable").test
    assert split(pool[::-1], 1, "sound", None, rule="stable") == parts
    # Choices are ordered as in a balanced split, so that the prompts in the lake serve both.
    shown = {e.id: e for part in split(pool, 1, "sound", None) for e in part}
    assert all(shown[e.id] == e for part in parts for e in part)


def test_stable_tells_rows_without_names_by_their_content() -> None:
    def unnamed(numbers: list[int]) -> list[Example]:
        return [item(n, id=f"row-{at}", group=f"row-{at}") for at, n in enumerate(numbers, start=1)]

    for protocol in ("sound", "paper"):
        before, after = (
            split(unnamed(numbers), 0, protocol, None, rule="stable")
            for numbers in ([*range(100)], [*range(200, 250), *range(100)])
        )
        for part, grown in zip(before, after, strict=True):
            assert {e.question for e in part} <= {e.question for e in grown}


def test_stable_cuts_validation_items_from_the_datas_own_training_split() -> None:
    pool = [item(n, part="test" if n % 4 == 0 else "train") for n in range(800)]
    parts = split(pool, 0, rule="stable")
    assert {e.id for e in parts.test} == {e.id for e in pool if e.part == "test"}
    assert len(parts.val) / 600 == pytest.approx(0.25, abs=0.054)
    fewer = split(pool[:500], 0, rule="stable")
    assert {e.id for e in fewer.val} <= {e.id for e in parts.val}


def test_a_part_that_stable_leaves_empty_is_said() -> None:
    with pytest.raises(UserError, match="the rule stable left a part empty.*--split-rule balanced"):
        split(grouped(3, 2), 3, "sound", None, rule="stable")


@pytest.mark.parametrize("n_groups", [3, 4, 7])
@pytest.mark.parametrize("size", [2, 5, 10, 11])
def test_as_few_groups_as_parts_are_enough(n_groups: int, size: int) -> None:
    parts = split(grouped(n_groups, size), 0, "sound", None)
    assert all(parts) and len(parts) == len(SPLITS)


@pytest.mark.parametrize(
    ("pool", "protocol", "reason"),
    [
        (grouped(2, 10), "sound", r"2 group\(s\), at least 3.*--group-col"),
        (grouped(2, 1), "sound", "at least 5 items"),
        (grouped(2, 1), "paper", "at least 5 items"),
    ],
)
def test_too_few_groups_or_items(pool: list[Example], protocol: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        split(pool, 0, protocol, None)  # type: ignore[arg-type]
