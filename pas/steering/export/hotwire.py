"""The file of hotwire-vllm: a tensor [n_layers, d_model], of which a request names a row.

The layout is the one its documentation gives: a `.pt` file in the folder `HOTWIRE_VECTORS`, read
with `weights_only=True`; row L belongs to decoder layer L, counted from 0; a request asks for
`{"id": file name, "layer": L, "scale": s}` and gets `s` times the row added to the layer's output.
"""

import json
from pathlib import Path

import torch

from pas.steering.export.additions import residual_additions_of
from pas.steering.export.notes import Notes
from pas.steering.export.outline import ModelOutline
from pas.steering.export.torch_file import write_torch
from pas.steering.intervention import Composition


def write_hotwire(out: Path, composition: Composition, outline: ModelOutline) -> Notes:
    """Write the matrix; rows of layers that are not steered are zero.

    Raises:
        UserError: If another site than the residual stream is steered, or more than an addition is
            asked for.
    """
    additions = residual_additions_of(composition, "hotwire-vllm")
    rows = torch.zeros(outline.info.n_layers, outline.info.d_model)
    asked = []
    for addition in additions:
        rows[addition.layer] = torch.from_numpy(addition.direction)
        asked.append({"id": out.stem, "layer": addition.layer, "scale": float(addition.strength)})
    write_torch(out, rows)
    request = {"vllm_xargs": {"hotwire": json.dumps(asked[0] if len(asked) == 1 else asked)}}
    return Notes(
        consumer="hotwire-vllm",
        hook_point="the output of a decoder layer",
        layer_numbering="row L is for decoder layer L, counted from 0",
        strength="apart, as the request's scale; the row is the direction",
        use=f"HOTWIRE_VECTORS={out.name} vllm serve MODEL, and in a request: {json.dumps(request)}",
        differences=(
            "The plugin needs a GPU and was not run: the file is tested against its documentation "
            "and its loader.",
            'With "decode_only": true in the request only new tokens are steered, and not the last '
            "prompt token, with which pas begins.",
        ),
    )
