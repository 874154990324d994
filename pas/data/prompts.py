"""The texts and token ids that the model reads for an item.

docs/method.md, "Contrast sets", "Prompt and scoring" and "Chat prompts".
"""

import hashlib
import logging
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_uppercase
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pas.characters import HALF_CHARACTERS, has_half_characters
from pas.errors import UserError

if TYPE_CHECKING:
    from pas.data.chat import Chat
    from pas.data.examples import Example
    from pas.models.loading import ModelInfo

Scoring = Literal["letter", "choice"]

log = logging.getLogger("pas")


class Prompt(NamedTuple):
    """A tokenised text.

    Attributes:
        key: 16 bytes, from `prompt_key`. The key identifies the text's activations. It does not
            depend on seed, split, method or task.
        text: The text.
        token_ids: Its token ids, including the tokenizer's special tokens.
    """

    key: bytes
    text: str
    token_ids: tuple[int, ...]


def full_prompt(example: "Example", scoring: Scoring, chat: "Chat | None" = None) -> str:
    """Return the worked examples and the prompt that the model answers.

    Under letter scoring the prompt lists the choices and asks for a letter. Under choice scoring
    it is the question alone: the choices are scored as continuations, and listing them would give
    their texts away. See docs/method.md, "Prompt and scoring".

    Args:
        example: The item.
        scoring: "letter" or "choice".
        chat: The chat template, which ends where the assistant's turn starts; None for plain text.
    """
    asked = user_text(example, scoring)
    if chat is not None:
        return chat.asked(asked, example.turns)
    return example.prefix + (asked if scoring == "choice" else f"{asked}\nAnswer:")


def user_text(example: "Example", scoring: Scoring) -> str:
    """Return what a user would ask: in chat prompts the text of the user's message.

    It has no `Answer:`, because the start of the assistant's turn stands for that.
    """
    if scoring == "choice":
        return example.question
    lines = [example.question]
    lines += [f"{ascii_uppercase[i]}: {text}" for i, text in enumerate(example.choices)]
    if example.fact:
        lines.append(f"Remember, {example.fact}.")
    return "\n".join([*lines, "Respond with a single letter."])


def statement(example: "Example", choice: int, chat: "Chat | None" = None) -> str:
    """Return the question and the text of the choice at index `choice`.

    A space stands between them in plain text. In chat prompts the choice is the assistant's text.
    docs/method.md, "Contrast sets".
    """
    if chat is None:
        return f"{example.question} {example.choices[choice]}"
    return chat.asked(example.question) + chat.gap + example.choices[choice]


def new_tokens_within(info: "ModelInfo", n_prompt: int, wanted: int) -> int:
    """Return how many tokens can follow a prompt: those wanted, or what the window has room for.

    Args:
        info: The model.
        n_prompt: Tokens of the prompt.
        wanted: Largest number of new tokens.

    Raises:
        UserError: If the prompt fills the model's context window.
    """
    window = info.context_window
    if window is None:
        return wanted
    if n_prompt >= window:
        raise UserError(
            f"a prompt of {n_prompt} tokens fills the model's context window of {window}: shorten "
            "it"
        )
    return min(wanted, window - n_prompt)


def encode(tokenizer: "ModelInfo", text: str) -> Prompt:
    """Tokenise a text and compute its key.

    What the tokenizer puts at the front is there once, also if the text has it already. What it
    puts at the end, such as an end token, is cut off, because the model should continue the text.

    Raises:
        UserError: If the text has no tokens, is longer than the model's context window, has half a
            character, or a token that the model does not know.
    """
    if has_half_characters(text):
        raise UserError(f"the prompt {text[:60]!r}: {HALF_CHARACTERS}; remove it")
    front, end = _added_tokens(tokenizer)
    token_ids = tuple(tokenizer.tokenizer(text, verbose=False)["input_ids"])
    token_ids = token_ids[: len(token_ids) - len(end)]
    bos = tokenizer.tokenizer.bos_token_id
    start = front or (() if bos is None else (bos,))
    n = len(start)
    while n and token_ids[:n] == start == token_ids[n : 2 * n]:
        token_ids = token_ids[n:]
    if not token_ids[len(front) :]:
        raise UserError(f"the prompt {text!r} has no tokens; give a longer text")
    window = tokenizer.context_window
    if window is not None and len(token_ids) > window:
        raise UserError(
            f"a prompt of {len(token_ids)} tokens is longer than the model's context window of "
            f"{window}: it starts with {text[:60]!r}. Shorten or remove it, or use another model."
        )
    known = tokenizer.vocabulary
    if known is not None and max(token_ids) >= known:
        raise UserError(
            f"the tokenizer has the token {max(token_ids)}, and the model's configuration only "
            f"{known}: they are not of one model. Give a model whose files belong together."
        )
    return Prompt(prompt_key(tokenizer.fingerprint, token_ids), text, token_ids)


@lru_cache(maxsize=64)
def _added_tokens(info: "ModelInfo") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens that the tokenizer puts before and after every text."""
    whole = tuple(info.tokenizer("a")["input_ids"])
    bare = tuple(info.tokenizer("a", add_special_tokens=False)["input_ids"])
    for at in range(len(whole) - len(bare) + 1):
        if whole[at : at + len(bare)] == bare:
            return whole[:at], whole[at + len(bare) :]
    return (), ()


@lru_cache(maxsize=64)
def warn_without_bos(info: "ModelInfo") -> None:
    """Warn, once for a model, if plain prompts lack the start token of its configuration."""
    front, _ = _added_tokens(info)
    if info.bos_token_id is not None and info.bos_token_id not in front:
        log.warning(
            "the model's configuration has the start token %r, which its tokenizer does not add: "
            "plain prompts start without it. Some models are trained like this; if yours is not, "
            "set add_bos_token in tokenizer_config.json.",
            info.tokenizer.convert_ids_to_tokens(info.bos_token_id),
        )


def prompt_key(fingerprint: str, token_ids: Sequence[int]) -> bytes:
    """Return blake2b-128 of the model's fingerprint and the token ids (little-endian int32)."""
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    digest.update(np.asarray(token_ids, dtype="<i4").tobytes())
    return digest.digest()
