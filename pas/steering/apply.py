"""Apply a vector to every forward call of a model, with a hook.

docs/method.md, "Where a vector is read and written".
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.sites import Site, editing


@contextmanager
def steered(
    model: LoadedModel, layer: int, site: Site, delta: torch.Tensor, tail: int = 1
) -> Iterator[None]:
    """Within the context, add `delta` to the last positions of every forward call.

    Args:
        model: The model; its lock is held within the context.
        layer: Decoder block, counted from 0.
        site: Where in the block.
        delta: [d_model], the direction times the strength.
        tail: Number of last positions that are steered. Sequences must be padded on the left.

    Raises:
        UserError: If the model has no such layer or site, or another width than the vector.
        RuntimeError: On leaving the context, if no forward pass went through the site.
    """
    width = model.info.d_model
    if delta.shape != (width,):  # one number alone would be added to every dimension
        raise UserError(
            f"model {model.spec.id} has {width} dimensions, the vector {delta.numel()}: use the "
            "model that the vector was trained on"
        )
    delta = delta.to(model.device, model.model.dtype)

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, -tail:] += delta.to(hidden.device)
        return hidden

    with model.lock, editing(model.model, layer, site, edit):
        yield
