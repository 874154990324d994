"""Applying a vector with a plain hook, to whatever runs the model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pas.models.loading import LoadedModel
from pas.models.sites import Site, editing


@contextmanager
def steered(
    model: LoadedModel, layer: int, site: Site, delta: torch.Tensor, tail: int = 1
) -> Iterator[None]:
    """Within the context add `delta` at the end of every forward call.

    Args:
        model: The model; its lock is held within the context.
        layer: Decoder block.
        site: Where in the block.
        delta: [d_model], strength already multiplied in.
        tail: How many last positions are steered. Sequences are left-padded.
    """
    delta = delta.to(model.device, model.model.dtype)

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, -tail:] += delta
        return hidden

    with model.lock, editing(model.model, layer, site, edit):
        yield
