"""Generate text with steering vectors.

docs/method.md, "Where a vector is read and written".
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from pas.data.chat import PLAIN, Message, PromptStyle, request_text
from pas.data.prompts import encode, new_tokens_within
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.padding import pad
from pas.steering.apply import REFUSED, steer
from pas.steering.intervention import Composition, Intervention
from pas.steering.vector import SteeringVector

_BATCH = 16  # prompts that are run together
_GREEDY = {"do_sample": False, "num_beams": 1}


def generate(
    model: LoadedModel,
    prompt: str | Sequence[Message],
    vector: SteeringVector | Composition | None,
    *,
    strength: float | None = None,
    max_new_tokens: int = 60,
    decoding: Mapping[str, Any] | None = None,
) -> str:
    """Continue a prompt greedily, with or without a vector.

    The last prompt token and every generated one are steered. For other positions and operations
    give a composition.

    Each new token is the one with the highest score. What the checkpoint's own
    `generation_config.json` asks for, such as sampling, beams or a repetition penalty, is not used.

    Args:
        model: The model.
        prompt: A text, rendered as the texts that the vector was trained on: the user's message
            where that was a chat prompt, else as it is. Or a conversation, a list of messages
            with `role` and `content`, which always goes through the model's chat template.
        vector: The vector, or a composition; None for the unsteered model, which continues a text
            as it is. Strength 0 is the unsteered model too, and renders a text as the vector does.
        strength: Factor on the direction, by default the vector's own; of a composition, a factor
            on all its strengths. 0 is the unsteered model.
        max_new_tokens: Largest number of tokens to generate; fewer where the model's context window
            ends before.
        decoding: Fields of transformers' `GenerationConfig` to use, such as
            `{"repetition_penalty": 1.1}`.

    Returns:
        The continuation without the prompt.

    Raises:
        UserError: If the prompt is empty or too long, it needs a chat template that the model
            lacks, the vector does not fit the model, the strength or the scores of a token are
            not finite, no token is asked for, or `decoding` asks for assisted decoding.
    """
    options = {"strength": strength, "max_new_tokens": max_new_tokens, "decoding": decoding}
    [text] = generate_all(model, [prompt], vector, **options)  # type: ignore[arg-type]
    return text


def generate_all(
    model: LoadedModel,
    prompts: Sequence[str | Sequence[Message]],
    vector: SteeringVector | Composition | None,
    *,
    strength: float | Sequence[float] | None = None,
    max_new_tokens: int = 60,
    decoding: Mapping[str, Any] | None = None,
) -> list[str]:
    """Continue several prompts as `generate` does each of them, in batches.

    Prompts of about the same length are padded on the left and run together. A batch may round its
    scores otherwise than one prompt alone.

    Args:
        model: The model.
        prompts: Texts and conversations.
        vector: As for `generate`, like the others.
        strength: As for `generate`, or one for each prompt.
        max_new_tokens: Largest number of tokens to generate for each prompt.
        decoding: Fields of `GenerationConfig`. With any, each prompt is run alone, because some
            look at the padding too.

    Returns:
        The continuations, in the order of the prompts.

    Raises:
        UserError: As `generate` does, or if there is another number of strengths than of prompts.
    """
    for name, reason in REFUSED.items():
        if name in (decoding or {}):
            raise UserError(f"decoding: leave out {name}; it asks for {reason}")
    if "use_cache" in (decoding or {}):
        raise UserError("decoding: leave out use_cache, which changes the speed and not the text")
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens {max_new_tokens}: give 1 or more")
    applied = _applied(vector, strength, len(prompts))
    sequences = [
        encode(model.info, request_text(model.info, prompt, _style(prompt, vector))).token_ids
        for prompt in prompts
    ]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    size = 1 if decoding else _BATCH
    texts = [""] * len(sequences)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        longest = max(len(sequences[i]) for i in rows)
        config = _GREEDY | dict(decoding or {})
        config["max_new_tokens"] = new_tokens_within(model.info, longest, max_new_tokens)
        batch = [replace(one, strength=tuple(one.strengths[i] for i in rows)) for one in applied]
        with steer(model, batch) if batch else nullcontext():
            found = _continue(model, [sequences[i] for i in rows], config, batch)
        for i, text in zip(rows, found, strict=True):
            texts[i] = text
    return texts


def _applied(
    vector: SteeringVector | Composition | None,
    strength: float | Sequence[float] | None,
    count: int,
) -> list[Intervention]:
    """Return what is done to `count` prompts, with a strength for each of them."""
    if vector is None:
        return []
    if isinstance(strength, Sequence) and len(strength) != count:
        raise UserError(f"{len(strength)} strengths for {count} prompts: give one for each, or one")
    unit = 1.0 if isinstance(vector, Composition) else vector.strength
    factor = unit if strength is None else strength
    factors = list(factor) if isinstance(factor, Sequence) else [factor] * count
    if isinstance(vector, SteeringVector):
        return [Intervention(vector, tuple(factors))]
    return [replace(one, strength=tuple(one.strengths[0] * f for f in factors)) for one in vector]


def _style(
    prompt: str | Sequence[Message], vector: SteeringVector | Composition | None
) -> PromptStyle:
    """Return how a prompt is rendered. A conversation goes through the template in any case."""
    if vector is None:
        return PLAIN
    if isinstance(vector, Composition) and not isinstance(prompt, str) and vector.is_mixed:
        return PLAIN
    return vector.prompt


@torch.inference_mode()
def _continue(
    model: LoadedModel,
    sequences: Sequence[Sequence[int]],
    config: Mapping[str, Any],
    applied: Sequence[Intervention],
) -> list[str]:
    """Run one batch; return the text that follows each sequence of token ids."""
    batch, ends = pad(sequences, model), model.end_ids
    longest = batch.input_ids.shape[1]

    def finite(so_far: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # A sequence that has ended is continued with padding, whatever its scores.
        goes_on = torch.tensor([ends.isdisjoint(row[longest:].tolist()) for row in so_far])
        if not bool(scores.amax(dim=-1).isfinite().cpu()[goes_on].all()):
            raise overflow_error(model, applied)
        return scores

    from transformers import GenerationConfig

    fixed = {"use_cache": True, "pad_token_id": model.pad_id}
    with model.lock, _own_settings_off(model):
        output = model.model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.mask,
            generation_config=GenerationConfig(**{**config, **fixed}),
            logits_processor=[finite],
        )
    return [
        str(model.tokenizer.decode(_until(row[longest:].tolist(), ends), skip_special_tokens=True))
        for row in output[: len(sequences)]
    ]


def overflow_error(model: LoadedModel, applied: Sequence[Intervention]) -> UserError:
    """Return the error for scores of a token that are not finite.

    Args:
        model: The model.
        applied: What was done to the hidden states.
    """
    strengths = ", ".join({f"{s:g}": None for one in applied for s in one.strengths}) or "0"
    dtype = str(model.model.dtype).removeprefix("torch.")
    return UserError(
        f"the scores of the next token are not finite at strength {strengths}: the model overflows "
        f"in {dtype}. Give a smaller strength, or load the model with dtype bfloat16 or float32."
    )


def _until(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """Return the tokens up to the first end token; after it there is padding."""
    first = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: first + 1]


@contextmanager
def _own_settings_off(model: LoadedModel) -> Iterator[None]:
    """Within the context, the model's own generation settings are none but its end tokens.

    transformers uses them for everything that a caller leaves open.
    """
    from transformers import GenerationConfig

    own = model.model.generation_config
    model.model.generation_config = GenerationConfig(eos_token_id=own.eos_token_id)
    try:
        yield
    finally:
        model.model.generation_config = own
