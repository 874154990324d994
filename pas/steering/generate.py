"""Generate text with a steering vector.

docs/method.md, "Where a vector is read and written": the last position of each forward call is
steered. With a KV cache this means the last prompt token and every generated token.
"""

from collections.abc import Sequence

import torch

from pas.data.chat import PLAIN, Message, request_text
from pas.data.prompts import encode
from pas.models.loading import LoadedModel
from pas.steering.apply import steered
from pas.steering.vector import SteeringVector


@torch.inference_mode()
def generate(
    model: LoadedModel,
    prompt: str | Sequence[Message],
    vector: SteeringVector | None,
    *,
    strength: float | None = None,
    max_new_tokens: int = 60,
) -> str:
    """Continue a prompt greedily, with or without a vector.

    Args:
        model: The model.
        prompt: A text, rendered as the texts that the vector was trained on: the user's message
            where that was a chat prompt, else as it is. Or a conversation, a list of messages
            with `role` and `content`, which always goes through the model's chat template.
        vector: The vector; None for the unsteered model, which continues a text as it is.
            Strength 0 is the unsteered model too, and renders a text as the vector does.
        strength: Factor on the direction, by default the vector's own. 0 is the unsteered model.
        max_new_tokens: Largest number of tokens to generate.

    Returns:
        The continuation without the prompt.

    Raises:
        UserError: If the prompt is empty or too long, it needs a chat template that the model
            lacks, or the model has no such layer or site.
    """
    text = request_text(model.info, prompt, PLAIN if vector is None else vector.prompt)
    tokens = torch.tensor([encode(model.info, text).token_ids], device=model.device)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    options = {"max_new_tokens": max_new_tokens, "do_sample": False, "pad_token_id": model.pad_id}
    factor = 0.0 if vector is None else vector.strength if strength is None else strength
    with model.lock:
        if vector is None or factor == 0.0:
            output = model.model.generate(**inputs, **options)
        else:
            delta = factor * torch.from_numpy(vector.direction)
            with steered(model, vector.layer, vector.site, delta):
                output = model.model.generate(**inputs, **options)
    new = output[0, tokens.shape[1] :]
    return str(model.tokenizer.decode(new, skip_special_tokens=True))
