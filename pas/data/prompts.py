"""From an item to the texts and token ids that the model reads.

METHOD.md, "Contrast sets" and "Prompt, scoring, injection".
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
    """A text as the model reads it.

    Attributes:
        key: 16 bytes, blake2b-128 of (model fingerprint, token ids): the identity of the
            activation, whatever the seed, split, method or task.
        text: What was tokenised.
        token_ids: With the tokenizer's own special tokens.
    """

    key: bytes
    text: str
    token_ids: tuple[int, ...]


def full_prompt(example: "Example", scoring: Scoring) -> str:
    """Render what the model answers, after the item's prefix.

    Letter scoring lists the choices and asks for a letter. Choice scoring reads the question
    alone: the choices are its continuations, so listing them would give the answer's text away.
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
    """Return question + " " + text of the choice shown at index `choice`."""
    return f"{example.question} {example.choices[choice]}"


def encode(tokenizer: "ModelInfo", text: str) -> Prompt:
    """Tokenise a text and name it.

    Raises:
        UserError: If it is longer than the model's context window or has no token.
    """
    token_ids = tuple(tokenizer.tokenizer(text, verbose=False)["input_ids"])
    if not token_ids:
        raise UserError(f"the prompt {text!r} has no token")
    window = tokenizer.context_window
    if window is not None and len(token_ids) > window:
        raise UserError(
            f"a prompt of {len(token_ids)} tokens is longer than the model's context window of "
            f"{window}: it starts {text[:60]!r}. Shorten or remove it, or take another model."
        )
    return Prompt(prompt_key(tokenizer.fingerprint, token_ids), text, token_ids)


def prompt_key(fingerprint: str, token_ids: Sequence[int]) -> bytes:
    """Return blake2b-128 of the model's fingerprint and the token ids (little-endian int32)."""
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    digest.update(np.asarray(token_ids, dtype="<i4").tobytes())
    return digest.digest()
