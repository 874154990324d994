"""Generate text with a steering vector.

docs/method.md, "Where a vector is read and written": the last position of each forward call is
steered. With a KV cache this means the last prompt token and every generated token.
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
    """Continue a prompt greedily, with or without a vector.

    Args:
        model: The model.
        prompt: The text to continue. No chat template is applied.
        vector: The vector; None for the unsteered model.
        strength: Factor on the direction, by default the vector's own. 0 is the unsteered model.
        max_new_tokens: Largest number of tokens to generate.

    Returns:
        The continuation without the prompt.

    Raises:
        UserError: If the model has no such layer or site.
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
