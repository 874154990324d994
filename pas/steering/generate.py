"""Generate text with a steering vector.

docs/method.md, "Where a vector is read and written": the last position of each forward call is
steered. With a KV cache this means the last prompt token and every generated token.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from transformers import GenerationConfig

from pas.data.chat import PLAIN, Message, request_text
from pas.data.prompts import encode
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.apply import steered
from pas.steering.vector import SteeringVector

_GREEDY = {"do_sample": False, "num_beams": 1}
# They run several tokens in one forward call, of which only the last one would be steered.
_REFUSED = ("use_cache", "prompt_lookup_num_tokens", "assistant_early_exit")


@torch.inference_mode()
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
            lacks, the model has no such layer or site, the scores of a token are not finite, or
            `decoding` runs several tokens in one forward call.
    """
    refused = [name for name in _REFUSED if name in (decoding or {})]
    if refused:
        raise UserError(f"decoding: leave out {refused[0]}, under which not every token is steered")
    text = request_text(model.info, prompt, PLAIN if vector is None else vector.prompt)
    ids = torch.tensor([encode(model.info, text).token_ids], device=model.device)
    factor = 0.0 if vector is None else vector.strength if strength is None else strength
    steering: Any = nullcontext()
    if vector is not None and factor:
        delta = factor * torch.from_numpy(vector.direction)
        steering = steered(model, vector.layer, vector.site, delta)

    def finite(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not bool(scores.amax(dim=-1).isfinite().all()):
            raise UserError(
                f"the scores of the next token are not finite at strength {factor:g}: the model "
                f"overflows in {str(model.model.dtype).removeprefix('torch.')}. Give a smaller "
                "strength, or load the model with dtype bfloat16 or float32."
            )
        return scores

    fixed = {"max_new_tokens": max_new_tokens, "use_cache": True, "pad_token_id": model.pad_id}
    with model.lock, _own_settings_off(model), steering:
        output = model.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=GenerationConfig(**_GREEDY | dict(decoding or {}) | fixed),
            logits_processor=[finite],
        )
    return str(model.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))


@contextmanager
def _own_settings_off(model: LoadedModel) -> Iterator[None]:
    """Within the context, the model's own generation settings are none but its end tokens.

    transformers uses them for everything that a caller leaves open.
    """
    own = model.model.generation_config
    model.model.generation_config = GenerationConfig(eos_token_id=own.eos_token_id)
    try:
        yield
    finally:
        model.model.generation_config = own
