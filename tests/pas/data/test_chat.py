"""Chat templates of several styles: what is rendered, where the answer starts, what is refused."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pas.data.chat import (
    PLAIN,
    PromptStyle,
    chat_of,
    described,
    prompt_style,
    read_messages,
    request_text,
)
from pas.data.examples import Example
from pas.data.prompts import encode, full_prompt, statement
from pas.engine.scoring import ScoringRule, prepare, query_of
from pas.errors import UserError
from pas.models.loading import LoadedModel, ModelInfo
from tests.helpers import oracle
from tests.helpers.chat_templates import (
    CHAT_TEMPLATES,
    CHATML,
    GEMMA,
    HEADER,
    INST,
    LLAMA3,
    SWITCH,
    THINKING,
    ChatTemplate,
)
from tests.helpers.tiny_models import BOS, EOS

TURNS = (("What is dry?", "sand"), ("What is wet?", "rain"))
ITEM = Example("q", "What is hot?", ("fire", "snow"), 0, "g", fact="snow is cold", turns=TURNS)
Tiny = Callable[..., LoadedModel]


def info_of(tiny: Tiny, template: ChatTemplate | str, arch: str = "llama") -> ModelInfo:
    text = template if isinstance(template, str) else template.text
    tokenizer: Any = tiny(arch, text).tokenizer
    return replace(tiny(arch).info, tokenizer=tokenizer)


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_prompts_are_what_the_template_makes_of_the_conversation(
    tiny: Tiny, name: str, scoring: Any
) -> None:
    template = CHAT_TEMPLATES[name]
    info = info_of(tiny, template)
    system = "Be brief." if template.takes_system else None
    chat = chat_of(info, prompt_style(info, "chat", system))
    known = oracle.Chat(info.tokenizer, template.fixed, system, template.gap, template.header)
    asked = "What is hot?"
    opened = oracle.chat_text(known, asked)
    assert statement(ITEM, 1, chat) == f"{opened}{template.gap}snow"
    if scoring == "letter":
        asked += "\nA: fire\nB: snow\nRemember, snow is cold.\nRespond with a single letter."
    assert full_prompt(ITEM, scoring, chat) == oracle.chat_text(known, asked, TURNS)


def test_the_text_of_one_template_to_the_letter(tiny: Tiny) -> None:
    info = info_of(tiny, INST)
    chat = chat_of(info, prompt_style(info, "chat", "Be brief."))
    assert full_prompt(ITEM, "choice", chat) == (
        f"{BOS}[I]Be brief.\nWhat is dry?[/I] sand{EOS}[I]What is wet?[/I] rain{EOS}"
        "[I]What is hot?[/I]"
    )
    assert statement(ITEM, 0, chat) == f"{BOS}[I]Be brief.\nWhat is hot?[/I] fire"


def test_a_dialogue_becomes_the_conversation_that_it_writes_down(tiny: Tiny) -> None:
    chat = chat_of(info_of(tiny, INST), prompt_style(info_of(tiny, INST), "chat"))
    assert chat is not None
    dialogue = "Human: Is it wet?\n\nAssistant: Yes.\n\nHuman: And now?\nSay it.\n\nAssistant:"
    asked = f"{BOS}[I]Is it wet?[/I] Yes.{EOS}[I]And now?\nSay it.[/I]"
    assert chat.asked(dialogue) == asked
    item = replace(ITEM, question=dialogue, turns=())
    assert full_prompt(item, "choice", chat) == asked
    assert statement(item, 0, chat) == f"{asked} fire"
    assert chat.asked(f"Be kind.\n\n{dialogue}").startswith(f"{BOS}[I]Be kind.\n\nIs it wet?[/I]")
    for text in ("Human: Is it wet?", "Assistant:", "Why does a Human: sleep?\n\nAssistant:",
                 "Human: a\n\nHuman: b\n\nAssistant:", "Human:\n\nAssistant:"):  # fmt: skip
        assert chat.asked(text) == f"{BOS}[I]{text}[/I]"


@pytest.mark.parametrize("arch", ["llama", "gpt2"])  # with and without a BOS of the tokenizer's
@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_one_bos_whatever_the_template_and_a_pasted_text_bring(
    tiny: Tiny, name: str, arch: str
) -> None:
    template = CHAT_TEMPLATES[name]
    info = info_of(tiny, template, arch)
    chat = chat_of(info, prompt_style(info, "chat"))
    expected = 1 if arch == "llama" or "bos_token" in template.text else 0
    for question in ("What is hot?", f"{BOS}What is hot?", f"{BOS}{BOS}What is hot?"):
        text = full_prompt(replace(ITEM, question=question, turns=()), "choice", chat)
        ids = encode(info, text).token_ids
        assert ids.count(info.tokenizer.bos_token_id) == expected
        assert ids[:expected] == (info.tokenizer.bos_token_id,) * expected


def test_the_choice_follows_the_start_of_the_turn(tiny: Tiny) -> None:
    for template in (INST, HEADER, CHATML):
        info = info_of(tiny, template)
        rule = ScoringRule("choice", prompt=prompt_style(info, "chat"))
        query = query_of(info, replace(ITEM, turns=()), rule)
        for choice, sequence in zip(ITEM.choices, query.sequences, strict=True):
            whole = (*sequence.token_ids, sequence.targets[-1])
            assert info.tokenizer.decode(sequence.targets) == template.gap + choice
            assert info.tokenizer.decode(whole).endswith(f"{template.header}{template.gap}{choice}")


def test_a_thinking_block_is_told_and_closed(tiny: Tiny) -> None:
    opens, switch, none = (info_of(tiny, t) for t in (THINKING, SWITCH, CHATML))

    def ends(info: ModelInfo, close: bool) -> tuple[str, str]:
        chat = chat_of(info, prompt_style(info, "chat", close_thinking=close))
        assert chat is not None
        return chat.asked("Q"), described(chat)[1]

    text, told = ends(opens, False)
    assert text.endswith("[a]<think>\n") and "first words in it; --close-thinking" in told
    text, told = ends(opens, True)
    assert text.endswith("[a]<think>\n\n</think>\n\n") and "after an empty thinking" in told
    text, told = ends(switch, False)
    assert text.endswith("[a]\n") and "may think first; --close-thinking" in told
    text, told = ends(switch, True)
    assert text.endswith("[a]\n<think>\n\n</think>\n\n") and "after an empty thinking" in told
    assert ends(none, False)[1] == "the answer is read where the assistant's turn starts"
    with pytest.raises(UserError, match="^--close-thinking: .* opens no thinking block"):
        prompt_style(none, "chat", close_thinking=True)


@pytest.mark.parametrize(("tag", "closing"), [
    ("<think>", "\n\n</think>\n\n"), ("[THINK]\n", "\n[/THINK]\n\n"),
    ("<seed:think>", "\n\n</seed:think>\n\n"), ("<reasoning>\n\n", "</reasoning>\n\n"),
])  # fmt: skip
def test_other_tags_open_a_block_too(tiny: Tiny, tag: str, closing: str) -> None:
    info = info_of(tiny, CHATML.text.replace("[a]", "[a]" + tag.replace("\n", "{{ '\\n' }}")))
    for close, end in ((False, tag), (True, tag + closing)):
        chat = chat_of(info, prompt_style(info, "chat", close_thinking=close))
        assert chat is not None and chat.asked("Q").endswith("[a]" + end)


def test_a_system_message_that_the_template_cannot_have_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"System role not supported\); leave out .*--system"):
        prompt_style(info_of(tiny, GEMMA), "chat", "Be brief.")
    ignores = (
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    with pytest.raises(UserError, match="^--system: .* leaves out the system message"):
        prompt_style(info_of(tiny, ignores), "chat", "Be brief.")
    with pytest.raises(UserError, match="leaves out the user's message; use --prompt plain"):
        prompt_style(info_of(tiny, "hello"), "chat")
    with pytest.raises(UserError, match=r"refuses the conversation \(.*\); use --prompt plain"):
        prompt_style(info_of(tiny, "{{ raise_exception('no') }}"), "chat")


def test_the_date_is_fixed(tiny: Tiny) -> None:
    info = info_of(tiny, LLAMA3)
    chat = chat_of(info, prompt_style(info))
    assert chat is not None and "[s]26 Jul 2024[/s]" in chat.asked("Q")


def test_several_templates_without_a_default_are_none(tiny: Tiny) -> None:
    info = info_of(tiny, CHATML)
    tokenizer = copy.deepcopy(info.tokenizer)
    tokenizer.chat_template = {"tools": CHATML.text}
    assert prompt_style(replace(info, tokenizer=tokenizer)) == PLAIN


def test_another_template_has_another_style(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (info_of(tiny, t) for t in (CHATML, LLAMA3))
    styles = [
        prompt_style(info, "chat", system) for info in (first, second) for system in (None, "")
    ]
    assert len({style.name for style in styles}) == 4
    chat_of(second, styles[0])
    assert "not the one that the vector was trained with" in caplog.text


def test_requests_are_rendered_as_in_training(tiny: Tiny) -> None:
    plain, info = tiny("llama").info, info_of(tiny, CHATML)
    style = prompt_style(info, "chat", "Be brief.")
    conversation = read_messages([{"role": "user", "content": "Q"}])
    assert request_text(plain, "Q", PLAIN) == request_text(info, "Q", PLAIN) == "Q"
    assert request_text(info, "Q", style) == "[s]Be brief.[/s]\n[u]Q[/u]\n[a]"
    assert request_text(info, conversation, style) == "[s]Be brief.[/s]\n[u]Q[/u]\n[a]"
    assert request_text(info, conversation, PLAIN) == "[s]Be kind.[/s]\n[u]Q[/u]\n[a]"
    own = read_messages([{"role": "system", "content": "No."}, *conversation])
    assert request_text(info, own, style) == "[s]No.[/s]\n[u]Q[/u]\n[a]"
    for request, at, message in (
        (" ", info, "the prompt is empty"),
        (conversation, plain, "messages: .* no chat template; give a text"),
    ):
        with pytest.raises(UserError, match=message):
            request_text(at, request, PLAIN)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--prompt chat: .* no chat template"):
        request_text(plain, "Q", PromptStyle("chat"))


@pytest.mark.parametrize(("value", "message"), [
    ("hello", "give a list of messages"), ([], "give a list"), ({"role": "user"}, "give a list"),
    ([{"role": "user", "content": "a"}, {"role": "user"}], "message 2 needs role and content"),
    ([{"role": "user", "content": [{"type": "text"}]}], "message 1 needs .* both text"),
    (["hello"], "message 1 needs"),
    ([{"role": "assistant", "content": "a"}], "the last message is the assistant's; end with"),
])  # fmt: skip
def test_a_conversation_is_checked(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_messages(value)


def test_a_chat_prompt_longer_than_the_window_is_refused(tiny: Tiny) -> None:
    info = replace(info_of(tiny, CHATML), context_window=10)
    rule = ScoringRule(prompt=prompt_style(info, "chat"))
    with pytest.raises(UserError, match="^item 'q': .* window of 10: it starts with .*Be kind"):
        query_of(info, ITEM, rule)
    with pytest.raises(UserError, match="context window of 10"):
        prepare(info, "[s]Be kind.[/s]\n[u]", ["a", "b"], 0, rule)
