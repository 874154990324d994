"""The form of responses, whole and in parts, as OpenAI's interface has them."""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from pas.decoding.request import Token
from pas.decoding.scheduler import Piece
from serving.prompts import Asked

DONE = "data: [DONE]\n\n"


class Format(NamedTuple):
    """How the responses to one request look.

    Attributes:
        chat: Whether it is a chat completion.
        model: Name of the model, as it was asked for.
        asked: What was asked for.
        logprobs: Whether log probabilities are part of the answer.
        tokenizer: For the texts of single tokens.
        id: Of the response.
        created: Seconds since 1970.
    """

    chat: bool
    model: str
    asked: Asked
    logprobs: bool
    tokenizer: Any
    id: str
    created: int

    @classmethod
    def of(cls, chat: bool, model: str, asked: Asked, logprobs: bool, tokenizer: Any) -> "Format":
        """Return the form of a new response."""
        name = f"{'chatcmpl' if chat else 'cmpl'}-{uuid4().hex}"
        return cls(chat, model, asked, logprobs, tokenizer, name, int(time.time()))

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "steering": [applied.as_dict() for applied in self.asked.applied],
        }

    def whole(self, pieces: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """Return a response with all continuations.

        Args:
            pieces: Of each continuation, in the order of the requests.
        """
        choices = []
        for number, parts in enumerate(pieces):
            text = "".join(piece.text for piece in parts)
            content: dict[str, Any] = (
                {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
            )
            tokens = [piece.token for piece in parts if piece.token]
            choices.append(
                {"index": number}
                | content
                | {"logprobs": self._logprobs(tokens), "finish_reason": parts[-1].finish}
            )
        kind = "chat.completion" if self.chat else "text_completion"
        return self._head(kind) | {"choices": choices, "usage": self.usage(_count(pieces))}

    def first(self, number: int) -> str:
        """Return the event that opens a continuation of a chat."""
        return self._event(number, {"delta": {"role": "assistant", "content": ""}}, None, None)

    def part(self, number: int, piece: Piece) -> str:
        """Return the event of a piece."""
        content: dict[str, Any] = (
            {"delta": {"content": piece.text}} if self.chat else {"text": piece.text}
        )
        tokens = [piece.token] if piece.token else []
        return self._event(number, content, self._logprobs(tokens), piece.finish)

    def last(self, n_tokens: int) -> str:
        """Return the event with the numbers of tokens."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return _data(self._head(kind) | {"choices": [], "usage": self.usage(n_tokens)})

    def usage(self, n_tokens: int) -> dict[str, int]:
        """Return the numbers of tokens, `n_tokens` of which were generated."""
        prompt = self.asked.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": n_tokens,
            "total_tokens": prompt + n_tokens,
        }

    def _event(
        self, number: int, content: dict[str, Any], logprobs: Any, finish: str | None
    ) -> str:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        choice = {"index": number} | content | {"logprobs": logprobs, "finish_reason": finish}
        return _data(self._head(kind) | {"choices": [choice]})

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        if self.chat:
            return {
                "content": [
                    self._token(token.id, token.log_prob)
                    | {"top_logprobs": [self._token(i, p) for i, p in token.top]}
                    for token in tokens
                ]
            }
        return {
            "tokens": [self._text(token.id) for token in tokens],
            "token_logprobs": [token.log_prob for token in tokens],
            "top_logprobs": [{self._text(i): p for i, p in token.top} for token in tokens],
        }

    def _token(self, token_id: int, log_prob: float) -> dict[str, Any]:
        text = self._text(token_id)
        return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}

    def _text(self, token_id: int) -> str:
        return str(self.tokenizer.decode([token_id]))


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_event(message: str, kind: str) -> str:
    """Return the event of an error in a stream."""
    return _data(error_body(message, kind))


def _count(pieces: Sequence[Sequence[Piece]]) -> int:
    return sum(piece.token is not None for parts in pieces for piece in parts)


def _data(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
