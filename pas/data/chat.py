"""Chat prompts: texts that the model's own chat template lays out.

docs/method.md, "Chat prompts". A text is rendered as a string, so keys, shards and scoring treat it
like a plain one.
"""

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from pas.data.splits import Protocol
from pas.errors import UserError

if TYPE_CHECKING:
    from pas.models.loading import ModelInfo

PromptOption = Literal["auto", "plain", "chat"]
Thinking = Literal["none", "optional", "open", "closed"]
Turn = tuple[str, str]  # what the user asks, and what the assistant answers

log = logging.getLogger("pas")

# A template that writes today's date would give other prompts, and keys, every day.
_TODAY = date(2024, 7, 26)  # the date that Llama 3's templates fall back to
_DATE_CALL = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
_OPEN_TAG = re.compile(
    r"(<|\[)((?:\w+:)?(?:think|thinking|thought|reason|reasoning))(>|\])\s*\Z", re.I
)
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):(?: |\Z|(?=\n))")
_ASKED, _ANSWERED = "QUESTION", "ANSWER"
_NO_TEMPLATE = (
    "--prompt chat: the model's tokenizer has no chat template; use --prompt plain, or give a "
    "model that was tuned for chat"
)


class Message(TypedDict):
    """One message of a conversation, in the form that chat templates take.

    Attributes:
        role: "system", "user" or "assistant".
        content: The text.
    """

    role: str
    content: str


@dataclass(frozen=True)
class PromptStyle:
    """How the text of an item becomes what the model reads.

    Attributes:
        kind: "plain" is the text as it is. "chat" puts it into the model's chat template.
        system: Text of the system message; None for what the template does without one.
        close_thinking: Close the thinking block before the answer.
        template: blake2b-64 of the chat template's text, 16 hex characters; empty for plain text.
    """

    kind: Literal["plain", "chat"] = "plain"
    system: str | None = None
    close_thinking: bool = False
    template: str = ""

    @property
    def name(self) -> str:
        """A name that is different for each style, in characters that are safe in a path."""
        if self.kind == "plain":
            return self.kind
        facts = repr((self.system, self.close_thinking, self.template))
        return f"chat-{hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()}"


PLAIN = PromptStyle()


class _Opening(NamedTuple):
    """What a template puts around the start of the assistant's answer.

    Attributes:
        thinking: Whether the answer begins in a thinking block. "optional": the model may open one
            itself, and the template can prevent it.
        header: What begins the assistant's turn and is not in the template's generation prompt.
        closing: What closes the thinking block that the template opens.
        gap: Spaces between this and the text of an answer.
    """

    thinking: Thinking
    header: str
    closing: str
    gap: str


@dataclass(frozen=True, eq=False)
class Chat:
    """A model's chat template with the settings of a style."""

    tokenizer: Any
    style: PromptStyle

    def opened(self, messages: Sequence[Message]) -> str:
        """Return the text of a conversation up to the start of the assistant's answer.

        The style's system message comes first, unless the conversation has one.

        Args:
            messages: The conversation; the last message is not the assistant's.

        Raises:
            UserError: If the template refuses the conversation.
        """
        opening = self._opening
        return self._rendered(messages, self._switches) + opening.header + opening.closing

    def asked(self, question: str, turns: tuple[Turn, ...] = ()) -> str:
        """Return what `opened` does for a question after worked examples.

        Args:
            question: The user's text.
            turns: Worked examples, as earlier turns.

        Raises:
            UserError: If the template refuses the conversation.
        """
        return _asked(self, question, turns)

    @property
    def gap(self) -> str:
        """Spaces that the template puts before the text of an answer."""
        return self._opening.gap

    @property
    def thinking(self) -> Thinking:
        """Whether the answer begins in a thinking block; "optional": the model may open one."""
        return self._opening.thinking

    @property
    def _switches(self) -> dict[str, bool]:
        """Variables of the template; `enable_thinking` is the one that templates agree on."""
        return {"enable_thinking": False} if self.style.close_thinking else {}

    @cached_property
    def _opening(self) -> _Opening:
        probe = [Message(role="user", content=_ASKED)]
        default, off = self._rendered(probe, {}), self._rendered(probe, {"enable_thinking": False})
        text = off if self.style.close_thinking else default
        tag = _OPEN_TAG.search(text)
        thinking: Thinking = "none"
        closing = ""
        if self.style.close_thinking:
            if tag is None and off == default:
                raise UserError(
                    "--close-thinking: the model's chat template opens no thinking block, and has "
                    "no switch enable_thinking; leave the option out"
                )
            thinking = "closed"
            if tag is not None:
                left, name, right = tag.groups()
                closing = "\n" * (2 - tag[0].count("\n")) + f"{left}/{name}{right}\n\n"
        elif tag is not None:
            thinking = "open"
        elif off != default:
            thinking = "optional"
        header, gap = ("", "") if closing else self._start(probe, text)
        return _Opening(thinking, header, closing, gap)

    def _start(self, probe: list[Message], opened: str) -> tuple[str, str]:
        """Return the header that the generation prompt lacks, and the gap before an answer.

        Both are read off a conversation that has an answer.
        """
        answered = [*probe, Message(role="assistant", content=_ANSWERED)]
        before = self._rendered(answered, self._switches, answer=False).rpartition(_ANSWERED)[0]
        if not before.startswith(opened):
            return "", ""
        rest = before.removeprefix(opened)
        if rest.strip() and opened != self._rendered(probe, self._switches, answer=False):
            return "", ""  # something that the template writes in earlier turns alone
        header = rest.rstrip(" ")
        return header, rest.removeprefix(header)

    def _rendered(
        self, messages: Sequence[Message], switches: dict[str, bool], *, answer: bool = True
    ) -> str:
        """Apply the template; with `answer` up to where the assistant's answer starts."""
        try:
            from jinja2.exceptions import TemplateError
        except ImportError as error:
            raise UserError("a chat prompt needs jinja2: pip install 'jinja2>=3.1.6'") from error
        given = [Message(role=m["role"], content=self._without_bos(m["content"])) for m in messages]
        if self.style.system is not None and given[0]["role"] != "system":
            given = [Message(role="system", content=self.style.system), *given]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    given,
                    chat_template=_dated(str(self.tokenizer.get_chat_template())),
                    tokenize=False,
                    add_generation_prompt=answer,
                    **switches,
                )
            )
        # A template is a program: it may also divide by zero or add a number to a text.
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            has_system = given[0]["role"] == "system"
            remedy = (
                "leave out the system message (--system)" if has_system else "use --prompt plain"
            )
            raise UserError(
                f"the model's chat template refuses the conversation ({error}); {remedy}"
            ) from error

    def _without_bos(self, text: str) -> str:
        """Remove a start token that was pasted with a text: the template has its own."""
        bos = self.tokenizer.bos_token
        while bos and text.startswith(bos):
            text = text.removeprefix(bos)
        return text


@lru_cache(maxsize=4096)  # an item's statements begin alike
def _asked(chat: Chat, question: str, turns: tuple[Turn, ...]) -> str:
    messages: list[Message] = []
    for asked, answered in turns:
        messages += [*_messages(asked), Message(role="assistant", content=answered)]
    return chat.opened([*messages, *_messages(question)])


def _messages(question: str) -> list[Message]:
    """Return the user's message; of a dialogue that waits for the assistant its messages.

    Preference data have such dialogues as questions: "Human: ...", "Assistant: ...", and so on.
    """
    before, *parts = _SPEAKER.split(question)
    roles, texts = parts[::2], [text.strip() for text in parts[1::2]]
    expected = ["Human", "Assistant"] * (len(roles) // 2)
    if not roles or roles != expected or texts.pop() or not all(texts):
        return [Message(role="user", content=question)]
    texts[0] = f"{before.strip()}\n\n{texts[0]}".strip()
    return [
        Message(role="user" if at % 2 == 0 else "assistant", content=text)
        for at, text in enumerate(texts)
    ]


@lru_cache(maxsize=64)
def chat_of(info: "ModelInfo", style: PromptStyle) -> Chat | None:
    """Return the chat template that a style uses; None for plain text.

    Raises:
        UserError: If the style needs a chat template that the model lacks.
    """
    if style.kind == "plain":
        return None
    template = _template(info)
    if template is None:
        raise UserError(_NO_TEMPLATE)
    if style.template not in ("", _digest(template)):
        log.warning("the model's chat template is not the one that the vector was trained with")
    return Chat(info.tokenizer, style)


def prompt_style(
    info: "ModelInfo",
    prompt: PromptOption = "auto",
    system: str | None = None,
    close_thinking: bool = False,
    protocol: Protocol = "sound",
) -> PromptStyle:
    """Resolve a prompt option for a model, and check that its template can do it.

    Args:
        info: The model; of a loaded one `model.info`.
        prompt: "auto" is chat if the tokenizer has a chat template and the protocol is "sound".
        system: Text of the system message; by default what the template does without one.
        close_thinking: Close the thinking block before the answer, for reasoning models.
        protocol: "paper" makes "auto" plain, because the paper has no chat template.

    Raises:
        UserError: If the model has no chat template, the template refuses or ignores the system
            message, has no thinking block to close, or the options need a chat prompt.
    """
    template = _template(info)
    if prompt == "auto":
        prompt = "chat" if template is not None and protocol == "sound" else "plain"
        why = "the model has no chat template" if template is None else "the protocol is paper"
    else:
        why = "--prompt is plain"
    if prompt == "plain":
        for option, given in (
            ("--system", system is not None),
            ("--close-thinking", close_thinking),
        ):
            if given:
                raise UserError(f"{option}: this needs a chat prompt, and {why}; leave it out")
        return PLAIN
    if template is None:
        raise UserError(_NO_TEMPLATE)
    style = PromptStyle("chat", system, close_thinking, _digest(template))
    text = Chat(info.tokenizer, style).asked(_ASKED)
    if _ASKED not in text:
        raise UserError(
            "--prompt chat: the model's chat template leaves out the user's message; "
            "use --prompt plain"
        )
    if system is not None and system.strip() not in text:
        raise UserError(
            "--system: the model's chat template leaves out the system message; leave out --system"
        )
    return style


def described(chat: Chat | None) -> tuple[str, str]:
    """Return in words what the model reads, and where its answer is read."""
    if chat is None:
        return "plain text", "the answer is read where the text ends"
    said = chat.style.system
    system = "" if said is None else f", system message {shorten(said, 60)!r}"
    place = {
        "none": "the answer is read where the assistant's turn starts",
        "optional": "the answer is read where the assistant's turn starts, where this model may "
        "think first; --close-thinking rules that out",
        "open": "the template opens a thinking block, and the answer is read as the first words "
        "in it; --close-thinking closes the block before the answer",
        "closed": "the answer is read after an empty thinking block",
    }
    return f"the model's chat template{system}", place[chat.thinking]


def read_messages(value: Any) -> list[Message]:
    """Return a conversation from JSON-like data.

    Args:
        value: A list of mappings with `role` and `content`.

    Raises:
        UserError: If it is not such a list, a content is not text, or the last message is the
            assistant's.
    """
    if isinstance(value, Mapping | str) or not isinstance(value, Sequence) or not value:
        raise UserError("give a list of messages, each with role and content")
    messages = []
    for number, message in enumerate(value, start=1):
        facts = message if isinstance(message, Mapping) else {}
        role, content = facts.get("role"), facts.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise UserError(f"message {number} needs role and content, both text")
        messages.append(Message(role=role, content=content))
    if messages[-1]["role"] == "assistant":
        raise UserError("the last message is the assistant's; end with the user's")
    return messages


def request_text(info: "ModelInfo", request: str | Sequence[Message], style: PromptStyle) -> str:
    """Return what the model reads for a request in a style.

    Args:
        info: The model.
        request: A text, or a conversation, which goes through the chat template in any style.
        style: A text in a chat style is the user's message.

    Raises:
        UserError: If the text is empty, or there is no template or it refuses the conversation.
    """
    chat = chat_of(info, style)
    if isinstance(request, str):
        if not request.strip():
            raise UserError("the prompt is empty; give a text")
        return request if chat is None else chat.asked(request)
    if _template(info) is None:
        raise UserError("messages: the model's tokenizer has no chat template; give a text")
    return (chat or Chat(info.tokenizer, PromptStyle("chat"))).opened(read_messages(request))


def _template(info: "ModelInfo") -> str | None:
    """Return the text of the tokenizer's (default) chat template, or None."""
    try:
        return str(info.tokenizer.get_chat_template())
    except ValueError:
        return None


def _digest(template: str) -> str:
    return hashlib.blake2b(template.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=8)
def _dated(template: str) -> str:
    """Put a fixed date where the template asks for today's."""
    return _DATE_CALL.sub(lambda call: repr(_TODAY.strftime(call[2])), template)
