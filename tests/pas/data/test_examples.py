"""Validation and the digest of examples."""

import pytest

from pas.data.examples import digest, validate
from pas.errors import UserError
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
        ({"id": "i0"}, "id 'i0' was used by row 1"),
        ({"roles": ("biased", "counter")}, r"2 role\(s\) for 3 choices"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(changes: dict[str, object], reason: str) -> None:
    good = [item(0), item(1)]
    validate(good, "here")
    with pytest.raises(UserError, match=rf"^here: 1 problem(.|\n)*row 3.*{reason}"):
        validate([*good, item(2, **changes), item(3)], "here")


def test_every_problem_is_counted_and_the_first_are_shown() -> None:
    with pytest.raises(UserError, match="no rows"):
        validate([], "here")
    with pytest.raises(UserError) as refused:
        validate([item(at, label=9, question="") for at in range(10)], "here")
    text = str(refused.value)
    assert "20 problem(s)" in text and "row 4" in text and "row 5" not in text
    assert "and 12 more" in text


def test_a_digest_follows_content_and_order() -> None:
    rows = [item(0), item(1), item(2)]
    assert digest(rows) == digest([item(0), item(1), item(2)])
    others = [rows[::-1], rows[:2]]
    for change in ({"label": 1}, {"group": "g"}, {"stratum": "s"}, {"fact": "f"}):
        others.append([item(0, **change), *rows[1:]])
    assert len({digest(rows), *map(digest, others)}) == 1 + len(others)
