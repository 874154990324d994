"""In-context learning: worked examples before every full prompt.

docs/method.md, "In-context examples": the examples are k training items that the model answered
wrongly, and vectors are built from the answers given with them. That section also lists the details
that the paper leaves open and how they are read here.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_uppercase

from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import Scoring, full_prompt, statement, user_text
from pas.data.splits import Split
from pas.errors import UserError

WORKED_EXAMPLES = 3
"""Worked examples that a training compares its vector with. More make every prompt longer."""
_GAP = "\n\n"


def exemplars(items: Sequence[ItemAnswer], k: int, seed: int) -> tuple[Example, ...]:
    """Draw k of the wrongly answered items, without replacement.

    Args:
        items: The training items and the model's answers without a prefix.
        k: Number of exemplars.
        seed: Seed of the draw.

    Raises:
        UserError: If fewer than k were answered wrongly.
    """
    wrong = [item.example for item in items if not item.correct]
    if len(wrong) < k:
        raise UserError(
            f"--shots {k}: the model answered only {len(wrong)} of {len(items)} training items "
            "wrongly, and examples are drawn from those. Use fewer examples or more items."
        )
    return tuple(random.Random(f"shots:{seed}").sample(wrong, k))


def prefix_of(shown: Sequence[Example], scoring: Scoring) -> str:
    """Render exemplars with their correct answers, with a blank line after each."""
    if scoring == "choice":
        worked = [statement(e, e.label) for e in shown]
    else:
        worked = [f"{full_prompt(e, scoring)} {ascii_uppercase[e.label]}" for e in shown]
    return "".join(text + _GAP for text in worked)


def turns_of(shown: Sequence[Example], scoring: Scoring) -> tuple[tuple[str, str], ...]:
    """Render exemplars as earlier turns of a conversation, answered correctly."""
    return tuple(
        (
            user_text(e, scoring),
            e.choices[e.label] if scoring == "choice" else ascii_uppercase[e.label],
        )
        for e in shown
    )


def with_shots(
    parts: Split,
    items: Sequence[ItemAnswer],
    k: int,
    seed: int,
    scoring: Scoring,
    *,
    as_turns: bool = False,
) -> Split:
    """Give every item the exemplars, and remove these from the training items.

    Args:
        parts: The split, without exemplars.
        items: The training items and the model's answers without exemplars.
        k: Number of exemplars.
        seed: Seed of the draw.
        scoring: How full prompts are rendered.
        as_turns: For chat prompts; else for plain ones.

    Raises:
        UserError: If fewer than k items were answered wrongly.
    """
    shown = exemplars(items, k, seed)
    prefix = "" if as_turns else prefix_of(shown, scoring)
    turns = turns_of(shown, scoring) if as_turns else ()
    taken = {e.id for e in shown}
    train, val, test = (
        tuple(replace(e, prefix=prefix, turns=turns) for e in part) for part in parts
    )
    return Split(tuple(e for e in train if e.id not in taken), val, test)
