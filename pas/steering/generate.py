"""Generate text with a steering vector.

docs/method.md, "Where a vector is read and written": the last position of each forward call is
steered. With a KV cache this means the last prompt token and every generated token.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from pas.data.chat import PLAIN, Message, request_text
from pas.data.prompts import encode
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.apply import steered
from pas.steering.vector import SteeringVector

_BATCH = 16  # prompts that are run together
_GREEDY = {"do_sample": False, "num_beams": 1}
# They run several tokens in one forward call, of which only the last one would be steered.
_REFUSED = ("use_cache", "prompt_lookup_num_tokens", "assistant_early_exit")


def generate(
    model: LoadedModel,
    prompt: str | Sequence[Message],
    vector: SteeringVector | None,
    *,
    strength: float | None = None,
    max_new_tokens: int = 60,
    decoding: Mapping[str, Any] | None = None,
) -> str:
    """Continue a prompt greedily, with or without a vector.

    Each new token is the one with the highest score. What the checkpoint's own
    `generation_config.json` asks for, such as sampling, beams or a repetition penalty, is not used.

    Args:
        model: The model.
        prompt: A text, rendered as the texts that the vector was trained on: the user's message
            where that was a chat prompt, else as it is. Or a conversation, a list of messages
            with `role` and `content`, which always goes through the model's chat template.
        vector: The vector; None for the unsteered model, which continues a text as it is.
            Strength 0 is the unsteered model too, and renders a text as the vector does.
        strength: Factor on the direction, by default the vector's own. 0 is the unsteered model.
        max_new_tokens: Largest number of tokens to generate.
        decoding: Fields of transformers' `GenerationConfig` to use, such as
            `{"repetition_penalty": 1.1}`.

    Returns:
        The continuation without the prompt.

    Raises:
        UserError: If the prompt is empty or too long, it needs a chat template that the model
            lacks, the model has no such layer or site, the strength or the scores of a token are
            not finite, no token is asked for, or `decoding` runs several tokens in one forward
            call.
    """
    options = {"strength": strength, "max_new_tokens": max_new_tokens, "decoding": decoding}
    [text] = generate_all(model, [prompt], vector, **options)  # type: ignore[arg-type]
    return text


def generate_all(
    model: LoadedModel,
    prompts: Sequence[str | Sequence[Message]],
    vector: SteeringVector | None,
    *,
    strength: float | None = None,
    max_new_tokens: int = 60,
    decoding: Mapping[str, Any] | None = None,
) -> list[str]:
    """Continue several prompts as `generate` does each of them, in batches.

    Prompts of about the same length are padded on the left and run together, so that the last
    position of each one is steered. A batch may round its scores otherwise than one prompt alone.

    Args:
        model: The model.
        prompts: Texts and conversations.
        vector: As for `generate`, like the others.
        strength: Factor on the direction.
        max_new_tokens: Largest number of tokens to generate for each prompt.
        decoding: Fields of `GenerationConfig`. With any, each prompt is run alone, because some
            look at the padding too.

    Returns:
        The continuations, in the order of the prompts.

    Raises:
        UserError: As `generate` does.
    """
    refused = [name for name in _REFUSED if name in (decoding or {})]
    if refused:
        raise UserError(f"decoding: leave out {refused[0]}, under which not every token is steered")
    factor = 0.0 if vector is None else vector.strength if strength is None else strength
    if not math.isfinite(factor):
        raise UserError(f"strength {factor}: give a finite number")
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens {max_new_tokens}: give 1 or more")
    style = PLAIN if vector is None else vector.prompt
    sequences = [
        encode(model.info, request_text(model.info, prompt, style)).token_ids for prompt in prompts
    ]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    size = 1 if decoding else _BATCH
    texts = [""] * len(sequences)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        steering: Any = nullcontext()
        if vector is not None and factor:
            delta = factor * torch.from_numpy(vector.direction)
            steering = steered(model, vector.layer, vector.site, delta)
        config = _GREEDY | dict(decoding or {}) | {"max_new_tokens": max_new_tokens}
        with steering:
            found = _continue(model, [sequences[i] for i in rows], config, factor)
        for i, text in zip(rows, found, strict=True):
            texts[i] = text
    return texts


@torch.inference_mode()
def _continue(
    model: LoadedModel,
    sequences: Sequence[Sequence[int]],
    config: Mapping[str, Any],
    factor: float,
) -> list[str]:
    """Run one batch; return the text that follows each sequence of token ids."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), model.pad_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(sequences):
        ids[row, longest - len(tokens) :] = torch.tensor(tokens)
        mask[row, longest - len(tokens) :] = 1
    own = model.model.generation_config.eos_token_id
    ends = {own} if isinstance(own, int) else {*(own or ())}

    def finite(so_far: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # A sequence that has ended is continued with padding, whatever its scores.
        goes_on = torch.tensor([ends.isdisjoint(row[longest:].tolist()) for row in so_far])
        if not bool(scores.amax(dim=-1).isfinite().cpu()[goes_on].all()):
            raise UserError(
                f"the scores of the next token are not finite at strength {factor:g}: the model "
                f"overflows in {str(model.model.dtype).removeprefix('torch.')}. Give a smaller "
                "strength, or load the model with dtype bfloat16 or float32."
            )
        return scores

    from transformers import GenerationConfig

    fixed = {"use_cache": True, "pad_token_id": model.pad_id}
    with model.lock, _own_settings_off(model):
        output = model.model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(**{**config, **fixed}),
            logits_processor=[finite],
        )
    return [
        str(model.tokenizer.decode(_until(row[longest:].tolist(), ends), skip_special_tokens=True))
        for row in output[: len(sequences)]
    ]


def _until(tokens: list[int], ends: set[int]) -> list[int]:
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
