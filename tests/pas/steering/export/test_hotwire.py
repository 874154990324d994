"""hotwire-vllm needs a GPU and vLLM. What runs here is its loader and its bank of vectors.

Its kernel adds `scale * row` of the bank to the output of a decoder layer, by its documentation.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pas.steering.export.formats import export
from pas.steering.intervention import Composition, Intervention
from tests.helpers.exported import vector_for
from tests.helpers.tiny_models import D_MODEL, N_BLOCKS


def steering_of(model: Any) -> Composition:
    return Composition(
        tuple(Intervention(vector_for(model, n, seed=n), 0.5 * n + 1) for n in (0, 3))
    )


def asked_of(made: Any) -> list[dict[str, Any]]:
    """What the notes say to put into a request."""
    request = json.loads(made.notes["use"].partition("in a request: ")[2])
    asked = json.loads(request["vllm_xargs"]["hotwire"])
    return asked if isinstance(asked, list) else [asked]


def test_the_matrix_has_a_row_for_each_layer(tiny: Any, tmp_path: Path) -> None:
    made = export(steering_of(tiny("llama")), "vllm", tmp_path / "polite.pt")
    rows = torch.load(made.path, weights_only=True)
    assert (rows.shape, rows.dtype) == ((N_BLOCKS, D_MODEL), torch.float32)
    assert rows.any(dim=1).tolist() == [True, False, False, True]
    assert asked_of(made) == [
        {"id": "polite", "layer": 0, "scale": 1.0}, {"id": "polite", "layer": 3, "scale": 2.5}
    ]  # fmt: skip
    assert "was not run" in made.notes["differences"][1]


@pytest.mark.exports
def test_the_plugin_reads_what_we_add_from_the_file_and_the_request(
    tiny: Any, tmp_path: Path
) -> None:
    from hotwire._state import SteerState, parse_spec

    steering = steering_of(tiny("llama"))
    made = export(steering, "vllm", tmp_path / "polite.pt")
    state = SteerState(N_BLOCKS, D_MODEL, 8, torch.device("cpu"), torch.float32, n_slots=4)
    state.load_store(str(tmp_path))
    for entry, one in zip(parse_spec(json.dumps(asked_of(made))), steering, strict=True):
        slot = state.slot_for(entry["id"], entry["layer"], entry["scale"])
        added = state.bank.scales[slot] * state.bank.bank[slot]
        assert entry["layer"] == one.vector.layer
        assert np.allclose(added, one.strength * one.vector.direction)
