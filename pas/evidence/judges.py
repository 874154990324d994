"""Judges of pairs of texts: measures of a text, and functions that a user brings.

docs/method.md, "Open-ended evaluation".
"""

import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable
from typing import cast

from pas.data.prompts import encode
from pas.errors import UserError
from pas.evidence.continuations import repeated_runs, surprise
from pas.evidence.pairs import Choice, Judge, Pair
from pas.models.loading import LoadedModel

_REFUSAL = re.compile(
    r"\b(i('m| am) (sorry|unable|not able)|i can('t|not)|i won('t| not)|as an ai)\b", re.IGNORECASE
)


def by_score(score: Callable[[str, str], float], name: str) -> Judge:
    """Return the judge that prefers the text with the higher score.

    Args:
        score: From prompt and text to a finite number.
        name: Of the score, for a message.
    """

    def judge(pair: Pair) -> Choice:
        first, second = (float(score(pair.prompt, text)) for text in (pair.first, pair.second))
        if not (math.isfinite(first) and math.isfinite(second)):
            raise UserError(f"--by {name}: the score of pair {pair.id} is not finite")
        return "tie" if first == second else "first" if first > second else "second"

    return judge


def length(_: str, text: str) -> float:
    """Return the number of words."""
    return len(text.split())


def repetition(_: str, text: str) -> float:
    """Return minus the share of runs of four words that occurred before in the text."""
    repeated, runs = repeated_runs(text.split())
    return -repeated / runs if runs else 0.0


def refusal(_: str, text: str) -> float:
    """Return 1 if the text reads like a refusal, by phrases such as "I cannot"; else 0."""
    return float(bool(_REFUSAL.search(text)))


def fluency(model: LoadedModel) -> Callable[[str, str], float]:
    """Return the score minus the perplexity of a text after its prompt, under a model."""

    def score(prompt: str, text: str) -> float:
        start = encode(model.info, prompt).token_ids
        new = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        return -math.exp(min(surprise(model, start, new) / len(new), 700.0)) if new else 0.0

    return score


def by_function(reference: str) -> Judge:
    """Return the judge that a Python function is: MODULE:FUNCTION.

    A function of (prompt, text) is a score, and the higher one wins. A function of (prompt, first,
    second) returns "first", "second" or "tie".

    Raises:
        UserError: If there is no such function, or it takes or returns something else.
    """
    module, _, name = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name)
        count = len(inspect.signature(function).parameters)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"--by {reference}: no such function ({error})") from error
    if count == 2:
        return by_score(function, reference)
    if count != 3:
        raise UserError(
            f"--by {reference}: it takes {count} arguments; give (prompt, text) or (prompt, first, "
            "second)"
        )

    def judge(pair: Pair) -> Choice:
        choice = function(pair.prompt, pair.first, pair.second)
        if choice not in ("first", "second", "tie"):
            raise UserError(f"--by {reference}: it returned {choice!r}, not first, second or tie")
        return cast(Choice, choice)

    return judge
