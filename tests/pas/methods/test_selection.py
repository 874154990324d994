"""The rules of selection against a literal reading of them."""

from collections.abc import Sequence

import numpy as np
import pytest

from pas.errors import UserError
from pas.methods.contrast import RANDOM
from pas.methods.grid import Cell, Configuration
from pas.methods.selection import Correct, candidates, rule_named, select, within_one_error


def cell(layer: int, strength: float, correct: int, norm: float = 1.0, method: str = "m") -> Cell:
    return Cell(Configuration(method, layer, strength), 10, correct, abs(strength) * norm)


def answered(rows: dict[Configuration, str], norm: float = 1.0) -> tuple[list[Cell], Correct]:
    """Cells from answers such as "1101", 1 for a right one."""
    right = {at: np.array([mark == "1" for mark in marks]) for at, marks in rows.items()}
    cells = [
        Cell(at, hits.size, int(hits.sum()), abs(at.strength) * norm) for at, hits in right.items()
    ]
    return cells, right


@pytest.mark.parametrize(
    ("cells", "paper", "sound"),
    [
        ([cell(1, 1, 6), cell(2, 2, 7), cell(3, 4, 5)], 1, 1),
        ([cell(1, 1, 7), cell(2, 2, 7), cell(3, 4, 5)], 1, 0),
        ([cell(1, 4, 7), cell(1, 2, 7), cell(1, 3, 7)], 1, 1),
        ([cell(1, 4, 7), cell(2, 1, 7, norm=9.0), cell(2, 2, 7, norm=9.0)], 1, 0),
        ([cell(2, 0, 7), cell(1, 0, 7), cell(1, 1, 7)], 0, 1),
        ([cell(1, 1, 9, method=RANDOM), cell(1, 1, 3)], 1, 1),
    ],
)
def test_the_best(cells: list[Cell], paper: int, sound: int) -> None:
    assert select(cells, "paper") == cells[paper]
    assert select(cells, "sound", "best") == cells[sound]


def literally_within(cells: Sequence[Cell], right: Correct, best: Cell) -> list[Cell]:
    """One item at a time: the mean difference against its standard error."""
    found = []
    for one in cells:
        if one.configuration.method == RANDOM:
            continue
        ours, theirs = right[one.configuration], right[best.configuration]
        differences = [int(b) - int(a) for a, b in zip(ours, theirs, strict=True)]
        n = len(differences)
        mean = sum(differences) / n
        variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
        if mean <= (variance / n) ** 0.5 + 1e-12:
            found.append(one)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_gentlest_within_one_error_is_taken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=90)
    right = {
        Configuration(m, layer, s): ease + rng.normal(size=90) * s / 6 + 0.1 * s - s * s / 40 > 0
        for m in ("caa", "pasf", RANDOM)
        for layer in (2, 5)
        for s in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
    }
    cells = [
        Cell(at, 90, int(hits.sum()), at.strength * (2.0 if at.layer == 5 else 3.0))
        for at, hits in right.items()
    ]
    best = select(cells, "sound")
    expected = literally_within(cells, right, best)
    assert best in expected
    assert within_one_error(cells, "sound", right) == expected
    least = min(c.effect for c in expected)
    chosen = select(cells, "sound", "one-se", correct=right)
    assert chosen in expected
    assert (chosen.effect, chosen.correct) == (
        least,
        max(c.correct for c in expected if c.effect == least),
    )


A, B, C, D = (Configuration("m", 3, s) for s in (0.5, 1.0, 2.0, 4.0))


def test_what_counts_is_the_difference_on_the_same_items() -> None:
    # Both lose three of twenty. The first has 5 more right elsewhere and is within the error of
    # such scattered differences, sqrt(13 - 9/20); the second loses three for nothing.
    best, scattered, nested = "1" * 14 + "0" * 6, "0" * 8 + "1" * 11 + "0", "0" * 3 + "1" * 11
    cells, right = answered({D: best, A: nested + "0" * 6, B: scattered})
    assert [c.correct for c in cells] == [14, 11, 11]
    assert within_one_error(cells, "sound", right) == [cells[0], cells[2]]
    assert select(cells, "sound", "one-se", correct=right) == cells[2]
    assert select(cells, "sound", "best") == cells[0]


def test_one_item_is_within_the_error_and_two_of_the_same_kind_are_not() -> None:
    cells, right = answered({D: "11110", B: "11100", A: "11000"})
    assert within_one_error(cells, "sound", right) == cells[:2]
    alone, of_it = answered({D: "1", B: "0"})
    assert within_one_error(alone, "sound", of_it) == alone[:1]


def test_not_steering_is_taken_where_it_is_as_good() -> None:
    zero = Configuration("m", 3, 0.0)
    # Not steering loses two of the best one's items and gains another: 1 is below sqrt(3 - 1/8).
    cells, right = answered({B: "11100000", zero: "11001000", A: "11110000"})
    assert select(cells, "sound") == cells[2]
    assert select(cells, "sound", "one-se", correct=right) == cells[1]
    assert candidates(cells, "sound", right) == [cells[1]]
    asked: list[Configuration] = []

    def damage(at: Configuration) -> float:
        asked.append(at)
        return 0.3

    assert select(cells, "sound", "least-damage", correct=right, damage=damage) == cells[1]
    assert not asked


def test_the_least_damage_is_measured_on_the_weakest_of_each_direction() -> None:
    rows = {
        Configuration(m, layer, s): "111110"
        for m in ("caa", "pasf")
        for layer in (3, 7)
        for s in (-2.0, -1.0, 1.0, 2.0)
    }
    worse = Configuration("caa", 3, 0.5)
    cells, right = answered(rows | {worse: "000010", Configuration(RANDOM, 3, 0.1): "111110"})
    found = candidates(cells, "sound", right)
    assert {c.configuration for c in found} == {at for at in rows if abs(at.strength) == 1}
    assert candidates(cells, "sound", right, most=3) == found[:3]
    effects = [c.effect for c in candidates(cells, "sound", right, most=99)]
    assert effects == sorted(effects)
    asked: list[Configuration] = []

    def damage(at: Configuration) -> float:
        asked.append(at)
        return 0.1 if at == ("pasf", 7, -1.0) else 0.2

    chosen = select(cells, "sound", "least-damage", correct=right, damage=damage)
    assert chosen.configuration == ("pasf", 7, -1.0)
    assert sorted(asked) == sorted(c.configuration for c in found)
    flat = select(cells, "sound", "least-damage", correct=right, damage=lambda at: 0.2)
    assert flat == found[0]


def test_what_a_rule_lacks_is_said() -> None:
    cells, right = answered({A: "11", B: "10"})
    with pytest.raises(ValueError, match="'one-se' needs more than counts"):
        select(cells, "sound", "one-se")
    with pytest.raises(ValueError, match="'least-damage' needs more than counts"):
        select(cells, "sound", "least-damage", correct=right)
    with pytest.raises(ValueError, match="answers to 3 items, the best 2"):
        select(cells, "sound", "one-se", correct={**right, B: np.ones(3, bool)})
    assert [rule_named(r) for r in ("best", "one-se", "least-damage")] == [
        "best", "one-se", "least-damage",
    ]  # fmt: skip
    with pytest.raises(UserError, match="--select worst: give best, one-se, least-damage"):
        rule_named("worst")
