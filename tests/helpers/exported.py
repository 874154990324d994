"""Vectors to export, and what a model steered at every position answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pas.models.loading import LoadedModel
from pas.models.sites import editing
from pas.models.spec import Site
from pas.steering.vector import SteeringVector


def vector_for(
    model: LoadedModel, layer: int, site: Site = "residual", strength: float = 1.5, seed: int = 0
) -> SteeringVector:
    """A random direction of about the size of a token's, so that its effect is plain."""
    draw = np.random.default_rng(seed)
    direction = draw.normal(size=model.info.d_model).astype(np.float32)
    return SteeringVector(
        direction=direction, layer=layer, site=site, strength=strength, method="random",
        model=model.spec, fingerprint=model.fingerprint, task="export",
    )  # fmt: skip


@torch.no_grad()
def log_probabilities(
    model: Any, tokens: Sequence[int], vector: SteeringVector | None = None, **changes: Any
) -> np.ndarray:
    """Log probabilities of every next token, with the vector at every position.

    Args:
        model: A transformers model.
        tokens: Token ids.
        vector: Added to the output of its site; None for the unsteered model.
        changes: Of the vector's layer and strength.

    Returns:
        [tokens, vocabulary] float32.
    """
    ids = torch.tensor([[*tokens]])
    if vector is None:
        return model(ids).logits[0].float().log_softmax(-1).numpy()
    layer = changes.get("layer", vector.layer)
    delta = changes.get("strength", vector.strength) * torch.from_numpy(vector.direction)
    with editing(model, layer, vector.site, lambda hidden: hidden + delta.to(hidden.dtype)):
        return model(ids).logits[0].float().log_softmax(-1).numpy()
