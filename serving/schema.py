"""The bodies of requests, as OpenAI's interface has them, and the field `steering`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pas.steering.operations import Operation

Number = Annotated[float, Field(allow_inf_nan=False)]

# Fields that have no effect on the text.
_WITHOUT_EFFECT = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
}
# Fields that are not supported, with the value that asks for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0, None),
    "presence_penalty": (0, None),
    "logit_bias": ({}, None),
    "best_of": (1, None),
    "echo": (False, None),
    "suffix": (None, ""),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
}


class SteeringItem(BaseModel):
    """One vector of a request."""

    model_config = ConfigDict(extra="forbid")

    vector: str = Field(description="NAME, NAME@alias or NAME:version.", max_length=500)
    strength: Number | Literal["auto"] | None = Field(
        None,
        description="Factor on the vector; its own by default, auto for what pas calibrate found.",
    )
    positions: str = Field("generated", description="generated, all, prompt or first:N.")
    operation: Operation = Field("add", description="What is done with the vector.")


class StreamOptions(BaseModel):
    """What a stream contains besides the text."""

    include_usage: bool = False


class GenerationBody(BaseModel):
    """The fields that completions and chat completions share."""

    # Others are looked at below: one that is not supported must not be ignored in silence.
    model_config = ConfigDict(extra="allow")

    model: str = Field(description="BASE, or BASE@VECTOR*STRENGTH, with + for several vectors.")
    max_tokens: int | None = Field(None, ge=1)
    temperature: Number = Field(1.0, ge=0, le=2)
    top_p: Number = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=128)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    steering: list[SteeringItem] | None = Field(
        None, description="Vectors; in place of those that `model` names."
    )

    @model_validator(mode="after")
    def _supported(self) -> "GenerationBody":
        for name, value in (self.model_extra or {}).items():
            if name in _WITHOUT_EFFECT or value is None:
                continue
            if name not in _NEUTRAL:
                raise ValueError(f"{name}: unknown field")
            if value not in _NEUTRAL[name]:
                raise ValueError(f"{name}: not supported; leave it out")
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > 16 or not all(stops) or any(len(stop) > 1000 for stop in stops):
            raise ValueError("stop: give up to 16 texts of 1 to 1,000 characters")
        return self

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts that end the continuation."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionBody(GenerationBody):
    """A request for completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=5)


class TextPart(BaseModel):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The content as one text."""
        parts = self.content
        return parts if isinstance(parts, str) else "".join(part.text for part in parts)


class ChatBody(GenerationBody):
    """A request for chat completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)


class ReadBody(BaseModel):
    """A request for the projection of a text's tokens onto a vector."""

    model_config = ConfigDict(extra="forbid")

    vector: str = Field(max_length=500)
    text: str
