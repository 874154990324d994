"""The texts and token ids that the model reads for an item.

docs/method.md, "Contrast sets" and "Prompt and scoring".
"""

import hashlib
from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pas.errors import UserError

if TYPE_CHECKING:
    from pas.data.examples import Example
    from pas.models.loading import ModelInfo

Scoring = Literal["letter", "choice"]


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


def full_prompt(example: "Example", scoring: Scoring) -> str:
    """Return the item's prefix and the prompt that the model answers.

    Under letter scoring the prompt lists the choices and asks for a letter. Under choice scoring
    it is the question alone: the choices are scored as continuations, and listing them would give
    their texts away. See docs/method.md, "Prompt and scoring".
    """
    if scoring == "choice":
        return example.prefix + example.question
    lines = [example.prefix + example.question]
    lines += [f"{ascii_uppercase[i]}: {text}" for i, text in enumerate(example.choices)]
    if example.fact:
        lines.append(f"Remember, {example.fact}.")
    lines += ["Respond with a single letter.", "Answer:"]
    return "\n".join(lines)


def statement(example: "Example", choice: int) -> str:
    """Return the question, a space and the text of the choice at index `choice`.

    docs/method.md, "Contrast sets".
    """
    return f"{example.question} {example.choices[choice]}"


def encode(tokenizer: "ModelInfo", text: str) -> Prompt:
    """Tokenise a text and compute its key.

    Raises:
        UserError: If the text has no tokens or is longer than the model's context window.
    """
    token_ids = tuple(tokenizer.tokenizer(text, verbose=False)["input_ids"])
    if not token_ids:
        raise UserError(f"the prompt {text!r} has no tokens; give a longer text")
    window = tokenizer.context_window
    if window is not None and len(token_ids) > window:
        raise UserError(
            f"a prompt of {len(token_ids)} tokens is longer than the model's context window of "
            f"{window}: it starts with {text[:60]!r}. Shorten or remove it, or use another model."
        )
    return Prompt(prompt_key(tokenizer.fingerprint, token_ids), text, token_ids)


def prompt_key(fingerprint: str, token_ids: Sequence[int]) -> bytes:
    """Return blake2b-128 of the model's fingerprint and the token ids (little-endian int32)."""
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    digest.update(np.asarray(token_ids, dtype="<i4").tobytes())
    return digest.digest()
