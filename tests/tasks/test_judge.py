"""A training's verdict is put together from its test answers."""

import numpy as np
import pandas as pd
import pytest

from pas.data.examples import Example
from pas.evidence.paired import compare
from tasks.judge import judge

N = 120
RANDOM = (0.34,) * 10


def item(at: int, label: int, *, roles: tuple[str, ...] = (), groups: int = N) -> Example:
    return Example(f"i{at}", "Who?", ("a", "b", "c"), label, f"g{at % groups}",
                   stratum="ambig" if at % 2 else "disambig", roles=roles)  # fmt: skip


def answers(items: list[Example], picks: np.ndarray) -> pd.DataFrame:
    labels = np.array([e.label for e in items])
    return pd.DataFrame({"choice": picks, "label": labels, "correct": picks == labels})


def judged(items, before, after, reshuffled_after=None, **changes):
    tables = answers(items, before), answers(items, after)
    right = [table["correct"].to_numpy() for table in tables]
    again = None
    if reshuffled_after is not None:
        again = compare(right[0], reshuffled_after)
    given = {
        "strength": 4.0, "letters": True, "reshuffled": again,
        "reshuffled_labels": [e.label for e in items], "random_accuracies": RANDOM,
        "leaked_groups": 0,
    }  # fmt: skip
    return judge(tuple(items), *tables, compare(*right), **(given | changes))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_gain_that_stays_with_other_orders_is_real(rng: np.random.Generator) -> None:
    items = [item(at, int(label)) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    before, after = rng.integers(0, 3, N), labels.copy()
    after[:12] = (labels[:12] + 1) % 3
    found = judged(items, before, after, after == labels)
    assert found.label == "real", found.explanation
    assert "significance over groups" not in [f.check for f in found.findings]


def test_a_constant_letter_is_called_a_letter_artefact(rng: np.random.Generator) -> None:
    """METHOD.md, flaw 1: the right letter is a constant, and steering learns to say it."""
    items = [item(at, 1) for at in range(N)]
    before, after = np.zeros(N, int), np.ones(N, int)
    found = judged(items, before, after, np.zeros(N, bool), random_accuracies=(0.0,) * 10)
    assert found.label == "letter artefact"


def test_groups_are_the_units_where_items_share_them(rng: np.random.Generator) -> None:
    items = [item(at, int(label), groups=4) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    before = labels.copy()
    before[::4] = (labels[::4] + 1) % 3  # only the first group can gain
    found = judged(items, before, labels, np.ones(N, bool))
    assert found.label == "not significant"
    assert [f for f in found.findings if f.check == "significance"][0].passed
    assert not [f for f in found.findings if f.check == "significance over groups"][0].passed


def test_always_unknown_is_seen_by_the_roles(rng: np.random.Generator) -> None:
    items = [item(at, 2 if at % 2 else int(label), roles=("biased", "counter", "unknown"))
             for at, label in enumerate(rng.integers(0, 2, N))]  # fmt: skip
    after = np.full(N, 2)
    found = judged(items, np.zeros(N, int), after, np.array([e.label for e in items]) == after,
                   letters=False, random_accuracies=(0.3,) * 10)  # fmt: skip
    assert found.label == "always unknown"
    plain = [item(at, e.label) for at, e in enumerate(items)]
    other = judged(plain, np.zeros(N, int), after, letters=False, random_accuracies=(0.3,) * 10)
    assert other.label == "real"


def test_no_steering_and_leaks(rng: np.random.Generator) -> None:
    items = [item(at, int(label)) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    assert judged(items, labels, labels, strength=0.0).label == "no steering chosen"
    before = rng.integers(0, 3, N)
    leaky = judged(items, before, labels, np.ones(N, bool), leaked_groups=30)
    assert leaky.label == "leaky split"
