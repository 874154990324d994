"""Faults and the digest of examples."""

import re

import pytest

from pas.data.examples import digest, faults_of
from tests.helpers.examples import item


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": " \n"}, "the question is empty"),
        ({"choices": ("one",), "label": 0}, r"1 choice\(s\); at least 2"),
        ({"choices": tuple(f"c{i}" for i in range(27))}, "27 choices; at most 26"),
        ({"choices": ("a", " ", "c")}, "a choice is empty"),
        ({"choices": ("a", "b", "a")}, "two choices are the same"),
        ({"label": 3}, "label 3 is out of range for 3 choices"),
        ({"label": -1}, "label -1 is out of range"),
        ({"roles": ("biased", "counter")}, r"2 role\(s\) for 3 choices"),
    ],
)
def test_what_makes_an_item_unusable(changes: dict[str, object], reason: str) -> None:
    assert not list(faults_of(item(2)))
    [fault] = faults_of(item(2, **changes))
    assert re.search(reason, fault)


def test_a_digest_follows_content_and_order() -> None:
    rows = [item(0), item(1), item(2)]
    assert digest(rows) == digest([item(0), item(1), item(2)])
    others = [rows[::-1], rows[:2]]
    for change in ({"label": 1}, {"group": "g"}, {"stratum": "s"}, {"fact": "f"}):
        others.append([item(0, **change), *rows[1:]])
    assert len({digest(rows), *map(digest, others)}) == 1 + len(others)
