"""From the body of a request to what the model is asked: token ids, vectors, sampling."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pas.data.chat import PLAIN, Message, PromptStyle, request_text
from pas.data.prompts import encode
from pas.decoding.request import Request, Sampling
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.intervention import Composition, Intervention
from serving.schema import ChatBody, CompletionBody, GenerationBody, SteeringItem
from serving.vectors import ServedVector, Vectors

_PART = re.compile(r"(?P<vector>[^*+]+)(?:\*(?P<strength>[^+*]+))?")


class UnknownModelError(UserError):
    """The request names a model that is not served here."""


class TooLongError(UserError):
    """The request asks for more than the server allows."""


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for.

    Attributes:
        prompt_tokens: Of one prompt; the model's context window is a limit too.
        new_tokens: Of one continuation.
        sequences: Continuations of one request: prompts times `n`.
        vectors: Of one request.
    """

    prompt_tokens: int = 8192
    new_tokens: int = 2048
    sequences: int = 16
    vectors: int = 8


class Applied(NamedTuple):
    """A vector of a request, and the strength that is used."""

    vector: ServedVector
    strength: float

    def as_dict(self) -> dict[str, object]:
        """Return what a response says about it."""
        return {
            "vector": self.vector.name,
            "version": self.vector.version,
            "strength": self.strength,
        }


class Asked(NamedTuple):
    """What a request asks for.

    Attributes:
        requests: One for each continuation, those of a prompt together.
        applied: The vectors.
        prompt_tokens: Of all prompts, each counted once.
    """

    requests: list[Request]
    applied: list[Applied]
    prompt_tokens: int

    @property
    def label(self) -> str:
        """The vectors' versions, for logs and metrics."""
        return "+".join(a.vector.label for a in self.applied) or "none"


def asked_of(
    body: CompletionBody | ChatBody, model: LoadedModel, base: str, vectors: Vectors, limits: Limits
) -> Asked:
    """Return what a body asks for.

    Args:
        body: The body of a request.
        model: The model that is served.
        base: The name that it is served under.
        vectors: The vectors that are offered.
        limits: How much may be asked for.

    Raises:
        UnknownModelError: If it names another model or a vector that is not there.
        TooLongError: If it asks for more than a limit.
        UserError: If something else is wrong with it.
    """
    items = _items(body, model, base)
    if len(items) > limits.vectors:
        raise TooLongError(f"{len(items)} vectors: at most {limits.vectors} in one request")
    applied: list[Applied] = []
    interventions: list[Intervention] = []
    for item in items:
        try:
            vector = vectors.find(item.vector)
        except UserError as error:
            raise UnknownModelError(str(error)) from error
        applied.append(_add(item, vector, interventions))
    prompts = (
        [_conversation(body, model, interventions)]
        if isinstance(body, ChatBody)
        else _texts(body, model)
    )
    if len(prompts) * body.n > limits.sequences:
        raise TooLongError(
            f"{len(prompts)} prompts times n {body.n}: at most {limits.sequences} in one request"
        )
    longest = max(map(len, prompts))
    if longest > limits.prompt_tokens:
        raise TooLongError(f"a prompt has {longest} tokens: at most {limits.prompt_tokens}")
    wanted = body.max_tokens
    if isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        wanted = body.max_completion_tokens
    if wanted is not None and wanted > limits.new_tokens:
        raise TooLongError(f"max_tokens {wanted}: at most {limits.new_tokens}")
    n_top = (body.top_logprobs or 0) if isinstance(body, ChatBody) else body.logprobs or 0
    if isinstance(body, ChatBody) and body.top_logprobs and not body.logprobs:
        raise UserError("top_logprobs: set logprobs to true too")
    requests = [
        Request(
            prompt,
            wanted or limits.new_tokens,
            tuple(interventions),
            Sampling(
                body.temperature, body.top_p, None if body.seed is None else body.seed + number
            ),
            body.stop_texts,
            n_top,
        )
        for prompt in prompts
        for number in range(body.n)
    ]
    return Asked(requests, applied, sum(map(len, prompts)))


def _items(body: GenerationBody, model: LoadedModel, base: str) -> list[SteeringItem]:
    """Return the vectors of a request: those of `steering`, else those in the model's name.

    Raises:
        UnknownModelError: If the name is not that of the model that is served.
        UserError: If a strength in it is no number.
    """
    names = {base, model.spec.id}
    name = next((n for n in names if body.model == n or body.model.startswith(n + "@")), None)
    if name is None:
        raise UnknownModelError(
            f"model {body.model!r} is not served here; there is {base}, alone or with a vector as "
            f"{base}@NAME@champion*1.5"
        )
    if body.steering is not None:
        return body.steering
    rest = body.model.removeprefix(name).removeprefix("@")
    items = []
    for part in rest.split("+") if rest else []:
        parts = _PART.fullmatch(part)
        strength: float | Literal["auto"] | None = None
        try:
            if parts is None:
                raise ValueError
            if parts["strength"] == "auto":
                strength = "auto"
            elif parts["strength"] is not None:
                strength = float(parts["strength"])
            items.append(SteeringItem(vector=parts["vector"], strength=strength))
        except ValueError:
            raise UserError(
                f"model {body.model!r}: {part!r} is not a vector with a strength; write "
                f"{base}@NAME@champion*1.5"
            ) from None
    return items


def _add(item: SteeringItem, vector: ServedVector, interventions: list[Intervention]) -> Applied:
    """Append what a vector does to the interventions of a request."""
    if item.strength == "auto":
        if vector.calibrated is None:
            raise UserError(f"strength auto: {vector.label} was not calibrated; run pas calibrate")
        item = item.model_copy(update={"strength": vector.calibrated})
    assert item.strength != "auto"
    steering = vector.steering
    if vector.version is None and len(steering.interventions) > 1:
        # A composition has positions and operations of its own; the request scales it.
        if (item.positions, item.operation) != ("generated", "add"):
            raise UserError(
                f"vector {vector.name}: a composition has positions and operations of its own"
            )
        interventions += vector.at(item.strength).interventions
        return Applied(vector, 1.0 if item.strength is None else item.strength)
    [own] = steering.interventions
    strength = item.strength
    if strength is None and item.operation == own.operation:
        strength = own.strengths[0]
    made = Intervention(own.vector, strength, item.positions, item.operation)
    interventions.append(made)
    return Applied(vector, made.strengths[0])


def _conversation(
    body: ChatBody, model: LoadedModel, interventions: Sequence[Intervention]
) -> tuple[int, ...]:
    messages = [
        Message(role="system" if m.role == "developer" else m.role, content=m.text)
        for m in body.messages
    ]
    return encode(model.info, prompt_text(model, messages, interventions)).token_ids


def prompt_text(
    model: LoadedModel, messages: Sequence[Message], interventions: Sequence[Intervention]
) -> str:
    """Return what the model reads for a conversation, as in the training of the vectors.

    Raises:
        UserError: If the model has no chat template, or it refuses the conversation.
    """
    style: PromptStyle = PLAIN
    if interventions:
        composition = Composition(tuple(interventions))
        style = PLAIN if composition.is_mixed else composition.prompt
    return request_text(model.info, messages, style)


def _texts(body: CompletionBody, model: LoadedModel) -> list[tuple[int, ...]]:
    """Return the token ids of each prompt, which may be given as text or as ids.

    Raises:
        UserError: If there is none, or an id is not in the vocabulary.
    """
    prompt = body.prompt
    parts: list[str | list[int]]
    if isinstance(prompt, str):
        parts = [prompt]
    elif isinstance(prompt[0] if prompt else None, int):
        parts = [[i for i in prompt if isinstance(i, int)]]
    else:
        parts = [part for part in prompt if not isinstance(part, int)]
    if not parts:
        raise UserError("the prompt is empty; give a text")
    size = model.model.get_input_embeddings().num_embeddings
    found = []
    for part in parts:
        if isinstance(part, str):
            found.append(encode(model.info, request_text(model.info, part, PLAIN)).token_ids)
        elif part and all(0 <= i < size for i in part):
            found.append(tuple(part))
        else:
            raise UserError(f"prompt: token ids must be from 0 to {size - 1}, at least one")
    return found
