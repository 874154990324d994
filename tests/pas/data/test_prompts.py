"""Special tokens: one at the front, none at the end, and a warning where one is missing."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from pas.data.prompts import encode, warn_without_bos
from pas.engine.scoring import ScoringRule, prepare
from pas.errors import UserError
from pas.models.loading import LoadedModel, ModelInfo
from tests.helpers.tiny_models import BOS, EOS, PAD, tiny_tokenizer

TEXT = "Where does the heron sleep?"


def info_with(tiny: Callable[..., LoadedModel], template: str) -> ModelInfo:
    """A tokenizer that adds special tokens as the template says, `$A` being the text."""
    inner = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    ids = [(token, inner.token_to_id(token)) for token in (BOS, EOS)]
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )
    return replace(tiny("llama").info, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("template", "has_bos"),
    [(f"{BOS} $A", True), (f"{BOS} $A {EOS}", True), (f"$A {EOS}", False), ("$A", False)],
)
def test_one_token_at_the_front_and_none_at_the_end(
    tiny: Callable[..., LoadedModel], template: str, has_bos: bool
) -> None:
    info = info_with(tiny, template)
    bare = tuple(info.tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    bos, eos = info.tokenizer.bos_token_id, info.tokenizer.eos_token_id
    front = (bos,) if has_bos else ()
    assert encode(info, TEXT).token_ids == front + bare
    for n in (1, 2, 3):  # pasted, or from a chat template
        assert encode(info, BOS * n + TEXT).token_ids == (bos, *bare)
    assert encode(info, TEXT + EOS).token_ids == (*front, *bare, eos), "the text's own stays"
    assert encode(info, TEXT).key == encode(tiny("llama").info, TEXT).key or not has_bos


def test_an_end_token_is_neither_asked_nor_scored(tiny: Callable[..., LoadedModel]) -> None:
    for rule in (ScoringRule(), ScoringRule("choice")):
        with_end, without = (
            prepare(info, TEXT, ["in the reeds", "by the mill"], 0, rule)
            for info in (info_with(tiny, f"{BOS} $A {EOS}"), info_with(tiny, f"{BOS} $A"))
        )
        assert with_end == without


def test_empty_and_too_long_texts_are_refused(tiny: Callable[..., LoadedModel]) -> None:
    for template in (f"{BOS} $A", f"{BOS} $A {EOS}", "$A"):
        with pytest.raises(UserError, match="the prompt '' has no tokens"):
            encode(info_with(tiny, template), "")
    info = replace(tiny("llama").info, context_window=4)
    with pytest.raises(UserError, match="window of 4: it starts with 'Where does"):
        encode(info, TEXT)


def test_a_missing_start_token_is_told_once(
    tiny: Callable[..., LoadedModel], caplog: pytest.LogCaptureFixture
) -> None:
    info = replace(tiny("qwen2").info)
    with caplog.at_level(logging.WARNING, "pas"):
        for _ in range(2):
            prepare(info, TEXT, ["a", "b"], 0, ScoringRule())
        warn_without_bos(tiny("llama").info)
    [record] = caplog.records
    assert "start token '<s>', which its tokenizer does not add" in record.getMessage()
