"""Which items neither the candidate nor the champion has seen."""

from typing import Any

import pytest

from pas.data.examples import Example
from pas.data.prompts import Scoring, full_prompt
from tasks.compare import unseen

QUESTION, CHOICES = "Where does the heron sleep?", ("in the reeds", "in the wall", "nowhere")


def item(
    number: int, group: str, question: str, choices: tuple[str, ...], scoring: Scoring = "letter"
) -> dict[str, Any]:
    """A row of the table `items`, as a training writes it."""
    example = Example(f"row-{number}", question, choices, 0, group)
    return {
        "item_id": example.id,
        "group_id": example.group,
        "prompt": full_prompt(example, scoring),
        "choices": list(choices),
    }


@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_an_item_is_known_by_its_id_its_group_or_its_content(scoring: Scoring) -> None:
    used = [item(1, "birds", QUESTION, CHOICES, scoring)]
    seen = [
        item(1, "other", "Who eats beetles?", ("the mole", "the heron"), scoring),
        item(2, "birds", "Who eats beetles?", ("the mole", "the heron"), scoring),
        # From another file, with its own numbers and groups, and the choices in another order.
        item(2, "other", QUESTION, CHOICES[::-1], scoring),
    ]
    new = [
        item(2, "other", "Where does the mole sleep?", CHOICES, scoring),
        item(3, "third", QUESTION, (*CHOICES[:2], "in a nest"), scoring),
    ]
    assert unseen([*seen, *new], used) == new
    assert unseen(new, []) == new and unseen([], used) == []
