"""Answers from scores: against the oracle's rule, one item at a time."""

import random

import numpy as np
import pytest

from pas.engine.decisions import UNDECIDED, Ties, decide, tied
from tests.helpers import oracle

# Few values, so that ties of every kind come up; some are not finite.
VALUES = (0.0, 0.0, 0.25, 1.0, 1.0, 1.0, float("nan"), float("inf"), -float("inf"))


def made_up(n: int, values: tuple[float, ...] = VALUES) -> list[np.ndarray]:
    rng = random.Random(0)
    return [
        np.array([rng.choice(values if i % 3 else values[:6]) for _ in range(rng.randint(2, 26))])
        for i in range(n)
    ]


@pytest.mark.parametrize("ties", ["even", "first"])
def test_decisions_are_those_of_the_oracle(ties: Ties) -> None:
    scores = made_up(300)
    ids = [f"item {i}" for i in range(len(scores))]
    scoring = oracle.Scoring(ties=ties)
    expected = [
        oracle.answer(s.tolist(), name, scoring) for s, name in zip(scores, ids, strict=True)
    ]
    assert decide(scores, ids, ties).tolist() == expected
    # Company changes nothing.
    alone = [int(decide([s], [i], ties)[0]) for s, i in zip(scores, ids, strict=True)]
    assert alone == expected
    assert UNDECIDED in expected and len(set(expected)) > 5


def test_ties_are_counted_where_the_highest_score_is_shared() -> None:
    scores = made_up(300)
    expected = [
        bool(np.isfinite(s).all()) and s.tolist().count(max(s.tolist())) > 1 for s in scores
    ]
    assert tied(scores).tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_no_position_is_preferred_among_equal_scores() -> None:
    ids = [f"item {i}" for i in range(3000)]
    even = decide([np.zeros(3)] * 3000, ids)
    # Three standard errors of a third of 3000.
    assert np.bincount(even) == pytest.approx([1000] * 3, abs=78)
    assert decide([np.zeros(3)] * 3000, ids, "first").tolist() == [0] * 3000


def test_no_items_have_no_answers() -> None:
    assert decide([], []).tolist() == [] and tied([]).tolist() == []
