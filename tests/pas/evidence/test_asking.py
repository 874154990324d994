"""Which ways of asking for a behaviour in words a training tries."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pas.data.chat import PLAIN, prompt_style
from pas.data.prompts import full_prompt
from pas.data.splits import Split, split
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.asking import ways_to_ask
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from tests.helpers.chat_templates import LLAMA3
from tests.helpers.examples import toy_examples
from tests.helpers.tiny_models import save_tiny

Tiny = Callable[..., LoadedModel]

RULE = ScoringRule()


@pytest.fixture
def parts() -> Split:
    return split(toy_examples(30), 0)


def test_the_first_training_items_are_shown_and_an_instruction_is_put_first(
    tiny: Tiny, parts: Split
) -> None:
    instruction, shown = ways_to_ask(tiny("llama").info, parts, RULE, "Be brief.", 2)
    assert (instruction.how, shown.how) == ("instruction: Be brief.", "2 worked examples")
    for told, plain in zip(instruction.items, parts.test, strict=True):
        assert full_prompt(told, "letter").startswith("Be brief.\n\n")
        assert replace(told, question=plain.question) == plain
    worked = "".join(f"{full_prompt(e, 'letter')} {'ABCDEF'[e.label]}\n\n" for e in parts.train[:2])
    for told, plain in zip(shown.items, parts.test, strict=True):
        assert full_prompt(told, "letter") == worked + full_prompt(plain, "letter")


def test_a_chat_model_is_shown_examples_as_earlier_turns(tmp_path: Path, parts: Split) -> None:
    folder = save_tiny("llama", tmp_path / "chat", chat_template=LLAMA3.text)
    model: LoadedModel = load_model(ModelSpec(str(folder)), tmp_path / "cache")
    rule = replace(RULE, prompt=prompt_style(model.info, "chat"))
    assert rule.prompt != PLAIN
    [told] = ways_to_ask(model.info, parts, rule, examples=1)
    assert told.how == "1 worked example"
    assert all(not item.prefix and len(item.turns) == 1 for item in told.items)


def test_what_does_not_fit_the_window_is_left_out_and_said(
    tiny: Tiny, parts: Split, caplog: pytest.LogCaptureFixture
) -> None:
    info = tiny("llama").info
    longest = max(len(info.tokenizer(full_prompt(e, "letter"))["input_ids"]) for e in parts.test)
    narrow = replace(info, context_window=longest + 3)
    with caplog.at_level(logging.WARNING, "pas"):
        assert ways_to_ask(narrow, parts, RULE) == []
    assert "3 worked examples is left out" in caplog.text and "context window" in caplog.text


def test_items_that_have_examples_get_no_others(tiny: Tiny, parts: Split) -> None:
    with_some = parts._replace(test=tuple(replace(e, prefix="Q A\n\n") for e in parts.test))
    info = tiny("llama").info
    assert ways_to_ask(info, with_some, RULE) == []
    [told] = ways_to_ask(info, with_some, RULE, "Be brief.")
    assert all(item.prefix == "Q A\n\n" for item in told.items)
    assert ways_to_ask(info, parts._replace(train=()), RULE) == []
    assert ways_to_ask(info, parts, RULE, examples=0) == []
    with pytest.raises(UserError, match="--instruction"):
        ways_to_ask(info, parts, RULE, " ")
