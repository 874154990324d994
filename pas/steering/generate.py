"""Applying a vector with plain hooks: in generation, and for scoring any architecture.

METHOD.md, "Prompt, scoring, injection": the last position of each forward call is steered, so
with a KV cache the last prompt token and every generated token; earlier ones never.
"""

import torch

from pas.models.loading import LoadedModel
from pas.steering.apply import steered
from pas.steering.vector import SteeringVector


@torch.inference_mode()
def generate(
    model: LoadedModel,
    prompt: str,
    vector: SteeringVector | None,
    *,
    strength: float | None = None,
    max_new_tokens: int = 60,
) -> str:
    """Continue a prompt greedily, with the vector or (None, or strength 0) without.

    Args:
        model: The model.
        prompt: Read as it stands, with no chat template around it.
        vector: The vector, or None.
        strength: Factor on the direction; the vector's own by default.
        max_new_tokens: Upper limit of the continuation.

    Returns:
        The continuation without the prompt.
    """
    inputs = model.tokenizer(prompt, return_tensors="pt").to(model.device)
    options = {"max_new_tokens": max_new_tokens, "do_sample": False, "pad_token_id": model.pad_id}
    factor = 0.0 if vector is None else vector.strength if strength is None else strength
    with model.lock:
        if vector is None or factor == 0.0:
            output = model.model.generate(**inputs, **options)
        else:
            delta = factor * torch.from_numpy(vector.direction)
            with steered(model, vector.layer, vector.site, delta):
                output = model.model.generate(**inputs, **options)
    new = output[0, inputs["input_ids"].shape[1] :]
    return str(model.tokenizer.decode(new, skip_special_tokens=True))
