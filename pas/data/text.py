"""The text of tokens while they arrive, and where a stop text ends it."""

from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\ufffd"  # what a tokenizer gives for part of a character


class TextStream:
    """Turn tokens into text as they arrive; together the pieces are the text of all tokens.

    A piece is held back while it may be part of a character or of a stop text.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        """Start with no token.

        Args:
            tokenizer: The transformers tokenizer.
            stop: Texts that end the continuation.
        """
        self.stopped = False
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._ids: list[int] = []
        # Tokens are decoded with a few before them, because some tokenizers write the first token
        # of a text without its space.
        self._context, self._read = 0, 0
        self._held = ""

    def push(self, token_id: int) -> str:
        """Add a token; return the text that is certain now."""
        self._ids.append(token_id)
        return self._release(self._new_text(finished=False), finished=False)

    def finish(self) -> str:
        """Return what was held back: no token follows."""
        return self._release(self._new_text(finished=True), finished=True)

    def _new_text(self, finished: bool) -> str:
        before = self._decode(self._ids[self._context : self._read])
        text = self._decode(self._ids[self._context :])
        if len(text) <= len(before) or (text.endswith(_UNFINISHED) and not finished):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return text[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _release(self, text: str, finished: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        # The one that is complete first, however the text is cut into tokens.
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            self.stopped = True
            released, self._held = self._held[: min(found)[1]], ""
            return released
        keep = (
            0 if finished else max((_overlap(self._held, stop) for stop in self._stop), default=0)
        )
        cut = len(self._held) - keep
        released, self._held = self._held[:cut], self._held[cut:]
        return released


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text that a stop text begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
