"""The same behaviour asked for in words: what a vector adds to an instruction or worked examples.

docs/method.md, "Controls".
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pas.data.examples import Example
from pas.data.fewshot import WORKED_EXAMPLES, prefix_of, turns_of
from pas.data.splits import Split
from pas.engine.scoring import ScoringRule, unscorable
from pas.errors import UserError
from pas.evidence.controls import Asking
from pas.evidence.paired import compare
from pas.methods.answers import Answers
from pas.methods.grid import Configuration
from pas.methods.strengths import answers_at, configuration_of
from pas.models.loading import LoadedModel, ModelInfo
from pas.steering.vector import SteeringVector

log = logging.getLogger("pas")


class Told(NamedTuple):
    """Items with what asks for the behaviour in words.

    Attributes:
        how: Such as "instruction: Be brief." or "3 worked examples".
        items: The items.
    """

    how: str
    items: tuple[Example, ...]


def instructed(items: Sequence[Example], instruction: str) -> Told:
    """Put an instruction before the question of each item.

    Raises:
        UserError: If it is empty.
    """
    text = instruction.strip()
    if not text:
        raise UserError("--instruction: the text is empty; say what the model should do")
    told = (replace(item, question=f"{text}\n\n{item.question}") for item in items)
    return Told(f"instruction: {text}", tuple(told))


def shown_examples(items: Sequence[Example], shown: Sequence[Example], rule: ScoringRule) -> Told:
    """Put worked examples before each item, correctly answered.

    Args:
        items: The items, without such examples.
        shown: The examples, which are none of the items.
        rule: How items are asked.
    """
    chat = rule.prompt.kind == "chat"
    prefix = "" if chat else prefix_of(shown, rule.kind)
    turns = turns_of(shown, rule.kind) if chat else ()
    told = (replace(item, prefix=prefix, turns=turns) for item in items)
    how = f"{len(shown)} worked example{'' if len(shown) == 1 else 's'}"
    return Told(how, tuple(told))


def ways_to_ask(
    info: ModelInfo,
    split: Split,
    rule: ScoringRule,
    instruction: str | None = None,
    examples: int = WORKED_EXAMPLES,
) -> list[Told]:
    """Return the test items with what asks for the behaviour, for each way that fits the model.

    A way whose prompts the model cannot be asked, such as those longer than its context window, is
    left out with a warning.

    Args:
        info: The tokenizer.
        split: The test items, and the training items of which the first are shown as examples.
        rule: How items are asked.
        instruction: Text that asks for the behaviour; None for none.
        examples: Number of worked examples, fewer where there are fewer training items; 0 for none.
            Items that have some already, as with `--shots`, get no others.

    Raises:
        UserError: If the instruction is empty.
    """
    ways = [] if instruction is None else [instructed(split.test, instruction)]
    shown = split.train[:examples]
    if shown and not any(item.prefix or item.turns for item in split.test):
        ways.append(shown_examples(split.test, shown, rule))
    kept = []
    for told in ways:
        reasons = unscorable(info, told.items, rule)
        if not reasons:
            kept.append(told)
            continue
        log.warning(
            "asking: the comparison with %s is left out; %d of %d test items cannot be asked so: "
            "%s",
            told.how,
            len(reasons),
            len(told.items),
            next(iter(reasons.values())),
        )
    return kept


def asking(
    how: str, plain: Answers, told: Answers, configuration: Configuration, seed: int = 0
) -> Asking:
    """Compare asking in words with steering, on the same items.

    Args:
        how: How the behaviour was asked for.
        plain: Answers to the items as they are, unsteered and under the configuration.
        told: Answers to the items with what asks for the behaviour, under the same.
        configuration: The vector's.
        seed: Seed of the bootstrap intervals.
    """
    asked = told.correct()
    return Asking(
        how,
        asked=compare(plain.correct(), asked, seed),
        both=compare(asked, told.correct(configuration), seed),
        steered=compare(asked, plain.correct(configuration), seed),
    )


def compare_with_asking(
    model: LoadedModel,
    vector: SteeringVector,
    items: Sequence[Example],
    ways: Sequence[Told],
    *,
    rule: ScoringRule | None = None,
    seed: int = 0,
) -> list[Asking]:
    """Ask for the behaviour in words, and see what the vector adds to that.

    Args:
        model: The model.
        vector: The vector, at its own strength.
        items: Test items.
        ways: The same items with what asks for the behaviour, from `instructed` or
            `shown_examples`.
        rule: How items are scored; by default as in the vector's training.
        seed: Seed of the bootstrap intervals.

    Raises:
        UserError: If an item exceeds the context window.
    """
    if not ways:
        return []

    def answers(asked: Sequence[Example]) -> Answers:
        return answers_at(model, vector, asked, rule, [vector.strength])

    plain, own = answers(items), configuration_of(vector)
    return [asking(told.how, plain, answers(told.items), own, seed) for told in ways]
