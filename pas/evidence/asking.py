"""The same behaviour asked for in words: what a vector adds to an instruction or worked examples.

docs/method.md, "Calibration".
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pas.data.examples import Example
from pas.data.fewshot import prefix_of, turns_of
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.paired import Comparison, compare
from pas.methods.strengths import answers_at, configuration_of
from pas.models.loading import LoadedModel
from pas.steering.vector import SteeringVector


class Asking(NamedTuple):
    """The same behaviour asked for in words, alone and with the vector, on the same items.

    Attributes:
        how: "instruction", or "3 examples".
        asked: Asking against the unsteered model.
        both: Asking and steering against asking alone: what steering adds to asking.
    """

    how: str
    asked: Comparison
    both: Comparison


def instructed(items: Sequence[Example], instruction: str) -> list[Example]:
    """Put an instruction before the question of each item.

    Raises:
        UserError: If it is empty.
    """
    if not instruction.strip():
        raise UserError("--instruction: the text is empty; say what the model should do")
    return [replace(item, question=f"{instruction.strip()}\n\n{item.question}") for item in items]


def shown_examples(
    items: Sequence[Example], shown: Sequence[Example], rule: ScoringRule
) -> list[Example]:
    """Put worked examples before each item, correctly answered.

    Args:
        items: The items.
        shown: The examples, which are none of the items.
        rule: How items are asked.
    """
    chat = rule.prompt.kind == "chat"
    prefix = "" if chat else prefix_of(shown, rule.kind)
    turns = turns_of(shown, rule.kind) if chat else ()
    return [replace(item, prefix=prefix, turns=turns) for item in items]


def compare_with_asking(
    model: LoadedModel,
    vector: SteeringVector,
    items: Sequence[Example],
    told: Sequence[Example],
    how: str,
    *,
    rule: ScoringRule | None = None,
    seed: int = 0,
) -> Asking:
    """Ask for the behaviour in words, and see what the vector adds to that.

    Args:
        model: The model.
        vector: The vector, at its own strength.
        items: Test items.
        told: The same items with what asks for the behaviour, from `instructed` or
            `shown_examples`.
        how: What that is, for the reader.
        rule: How items are scored; by default as in the vector's training.
        seed: Of the bootstrap intervals.

    Raises:
        UserError: If an item exceeds the context window.
    """
    plain = answers_at(model, vector, items, rule, [])
    asked = answers_at(model, vector, told, rule, [vector.strength])
    return Asking(
        how,
        compare(plain.correct(), asked.correct(), seed),
        compare(asked.correct(), asked.correct(configuration_of(vector)), seed),
    )
