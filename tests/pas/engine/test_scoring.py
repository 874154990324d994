"""Items that a tokenizer does not let be scored."""

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import normalizers

from pas.data.examples import Example
from pas.engine.scoring import ScoringRule, prepare, unscorable
from pas.errors import UserError
from pas.models.loading import ModelInfo
from tests.helpers.tiny_models import tiny_tokenizer

CHOICE, LETTER = ScoringRule("choice"), ScoringRule("letter")


def info_of(tokenizer: Any, window: int = 60) -> ModelInfo:
    return ModelInfo(tokenizer, "f" * 32, window, 4, 48, 1, "llama")


def item(name: str, question: str, *choices: str) -> Example:
    return Example(name, question, choices, 0, name)


def test_every_item_that_cannot_be_scored_is_named_with_its_reason() -> None:
    """Merges across words: the first word of one question is part of a longer token."""
    info = info_of(tiny_tokenizer(bos=False, split_words=False))
    items = [
        item("fine", "Where does the heron sleep?", "in the reeds", "by the mill"),
        item("merged", "It", "eats acorns", "eats river snails"),
        item("long", "Where does the heron sleep? " * 60, "in the reeds", "by the mill"),
        item("also fine", "What did it eat?", "beetles", "clover"),
    ]
    found = unscorable(info, items, CHOICE)
    assert list(found) == ["merged", "long"]
    assert "no first token in common" in found["merged"]
    assert "longer than the model's context window" in found["long"]
    # A letter does not merge with the prompt.
    assert list(unscorable(info, items, LETTER)) == ["long"]
    # A start token is common to all.
    assert list(unscorable(info_of(tiny_tokenizer(split_words=False)), items, CHOICE)) == ["long"]


def test_choices_that_are_the_same_tokens_are_refused() -> None:
    """They would be a tie under every configuration."""
    tokenizer = tiny_tokenizer()
    plain, folding = info_of(tokenizer), info_of(type(tokenizer)(tokenizer_object=(
        _folding(tokenizer)), bos_token="<s>", eos_token="</s>"))  # fmt: skip
    choices = ("Beetles", "beetles", "clover")
    assert prepare(plain, "What did it eat?", choices, 0, CHOICE).sequences
    with pytest.raises(UserError, match="two choices after the prompt .* are the same tokens"):
        prepare(folding, "What did it eat?", choices, 0, CHOICE)
    assert prepare(folding, "What did it eat?", choices, 0, LETTER).letters
    wide = replace(folding, context_window=None)
    assert list(unscorable(wide, [item("same", "Which?", *choices)], CHOICE)) == ["same"]


def _folding(tokenizer: Any) -> Any:
    """Return the tokenizer with all text in lower case."""
    copy = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    copy.normalizer = normalizers.Lowercase()
    return copy
