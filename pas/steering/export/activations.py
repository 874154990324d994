"""The object of the package steering-vectors: a tensor for each layer, of one type of layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pas.errors import UserError
from pas.models.spec import Site
from pas.steering.export.additions import Addition, additions_of
from pas.steering.export.notes import Notes
from pas.steering.export.outline import ModelOutline
from pas.steering.export.torch_file import numbers_of, write_torch
from pas.steering.intervention import Composition

_TYPES: dict[Site, str] = {"residual": "decoder_block", "attention": "self_attn", "mlp": "mlp"}


def fields_of(composition: Composition) -> dict[str, Any]:
    """Return the fields of a `steering_vectors.SteeringVector`.

    The strength is in the numbers: a multiplier of 1 is the vector's own.

    Raises:
        UserError: If several sites are steered, one that the package does not name in every model,
            or more than an addition is asked for.
    """
    additions = additions_of(composition, "steering-vectors")
    sites = {addition.site for addition in additions}
    if len(sites) > 1 or not sites <= _TYPES.keys():
        raise UserError(
            f"steering-vectors steers one of {', '.join(_TYPES)}, and here are "
            f"{', '.join(sorted(sites))}: export each alone"
        )
    [site] = sites
    return {
        "layer_activations": {a.layer: torch.from_numpy(a.delta) for a in additions},
        "layer_type": _TYPES[site],
    }


def write_activations(out: Path, composition: Composition, outline: ModelOutline) -> Notes:
    """Write the fields of the object; the package has no file format of its own.

    Raises:
        UserError: As `fields_of`.
    """
    fields = fields_of(composition)
    for layer in fields["layer_activations"]:
        outline.hook_point(layer, composition.interventions[0].vector.site)
    write_torch(out, fields)
    return Notes(
        consumer="steering-vectors",
        hook_point=f"the output of layer type {fields['layer_type']}",
        layer_numbering="decoder blocks, counted from 0",
        strength="in the numbers: a multiplier of 1 is the vector's own strength",
        use=(
            f'vector = SteeringVector(**torch.load("{out.name}", weights_only=True)), then '
            "with vector.apply(model): ..."
        ),
    )


def read_activations(content: Any, layer_type: str, shift: int = 0) -> list[Addition]:
    """Return what the fields of a `steering_vectors.SteeringVector` add.

    Args:
        content: A tensor for each layer.
        layer_type: The package's name of the site.
        shift: What is taken off a layer's number to get the block's.

    Raises:
        ValueError: If they are no such fields.
    """
    site = next((site for site, name in _TYPES.items() if name == layer_type), None)
    if site is None:
        raise ValueError(f"layer type {layer_type} is none of {', '.join(_TYPES.values())}")
    if not isinstance(content, Mapping) or not all(isinstance(key, int) for key in content):
        raise ValueError("its activations are not by layer")
    return [
        Addition(n - shift, site, numbers_of(f"layer {n}", tensor).reshape(-1), 1.0)
        for n, tensor in sorted(content.items())
    ]
