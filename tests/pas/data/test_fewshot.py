"""Exemplars are items that were answered wrongly, and all else is as without them."""

import pytest

from pas.data.examples import Example, ItemAnswer
from pas.data.fewshot import exemplars, prefix_of, with_shots
from pas.data.prompts import full_prompt, statement
from pas.data.splits import Split
from pas.errors import UserError


def item(name: str) -> Example:
    return Example(name, f"What is {name}?", ("this", "that"), 1, name)


ITEMS = [ItemAnswer(item(f"q{i}"), i % 2) for i in range(20)]  # the even ones are wrong


def test_exemplars_are_wrongly_answered_and_drawn_by_seed() -> None:
    found = exemplars(ITEMS, 5, 0)
    assert len({e.id for e in found}) == 5
    assert all(int(e.id[1:]) % 2 == 0 for e in found)
    assert found == exemplars(ITEMS, 5, 0) != exemplars(ITEMS, 5, 1)
    with pytest.raises(UserError, match="only 10 of 20"):
        exemplars(ITEMS, 11, 0)


def test_the_prefix_shows_right_answers() -> None:
    assert prefix_of([item("a")], "letter") == (
        "What is a?\nA: this\nB: that\nRespond with a single letter.\nAnswer: B\n\n"
    )
    assert prefix_of([item("a"), item("b")], "choice") == "What is a? that\n\nWhat is b? that\n\n"


def test_prompts_get_the_prefix_and_statements_do_not() -> None:
    parts = Split(tuple(i.example for i in ITEMS), (item("v"),), (item("t"),))
    found = with_shots(parts, ITEMS, 3, 0, "letter")
    prefix = prefix_of(exemplars(ITEMS, 3, 0), "letter")
    for before, after in ((parts.val[0], found.val[0]), (parts.test[0], found.test[0])):
        assert full_prompt(after, "letter") == prefix + full_prompt(before, "letter")
        assert statement(after, 0) == statement(before, 0)
    taken = {e.id for e in exemplars(ITEMS, 3, 0)}
    assert [e.id for e in found.train] == [i.example.id for i in ITEMS if i.example.id not in taken]
