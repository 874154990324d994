"""steering-vectors and repeng, in the releases that `make .exports` puts aside.

Both ask for older releases of transformers or NumPy than ours. What runs here is their own code on
ours. repeng names `numpy.float_`, which NumPy 2 has dropped, so it is given that name back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.export.formats import export
from pas.steering.export.objects import to_repeng, to_steering_vectors
from pas.steering.intervention import Composition, Intervention
from tests.helpers.exported import vector_for

EXACT = 1e-4  # of logits
TEXT = "Where does the heron sleep? It sleeps by the mill."


@torch.no_grad()
def logits(model: LoadedModel, run: Any = None) -> torch.Tensor:
    ids = torch.tensor([model.tokenizer(TEXT).input_ids])
    return (run or model.model)(ids).logits


def test_the_file_holds_the_fields_and_no_code(tiny: Any, tmp_path: Path) -> None:
    vector = vector_for(tiny("llama"), 2, "attention")
    made = export(vector, "steering-vectors", tmp_path / "v.pt", strength=-2)
    fields = torch.load(made.path, weights_only=True)
    assert fields["layer_type"] == "self_attn" and [*fields["layer_activations"]] == [2]
    assert np.allclose(fields["layer_activations"][2], -2 * vector.direction)


@pytest.mark.parametrize(
    ("layers", "sites", "words"),
    [((1, 2), ("mlp", "residual"), "mlp, residual: export each alone"),
     ((1,), ("mlp_norm",), "here are mlp_norm")],
)  # fmt: skip
def test_one_type_of_layer_alone_is_exported(
    tiny: Any, tmp_path: Path, layers: Any, sites: Any, words: str
) -> None:
    vectors = [vector_for(tiny("llama"), *place) for place in zip(layers, sites, strict=True)]
    steering = Composition(tuple(map(Intervention, vectors)))
    with pytest.raises(UserError, match=words):
        export(steering, "steering-vectors", tmp_path / "v.pt")
    assert not any(tmp_path.iterdir())


@pytest.mark.exports
@pytest.mark.parametrize(
    ("arch", "site"),
    [("llama", "residual"), ("qwen2", "mlp"), ("gpt2", "attention"), ("gemma2", "residual")],
)
def test_steering_vectors_steers_as_we_do_at_every_position(
    tiny: Callable[..., LoadedModel], tmp_path: Path, arch: str, site: Any
) -> None:
    from steering_vectors import SteeringVector

    model = tiny(arch)
    steering = Composition((
        Intervention(vector_for(model, 1, site, seed=1), 0.7, "all"),
        Intervention(vector_for(model, 2, site, seed=2), -0.4, "all"),
    ))  # fmt: skip
    made = export(steering, "steering-vectors", tmp_path / "v.pt")
    read = SteeringVector(**torch.load(made.path, weights_only=True))
    before = logits(model)
    with steering.on(model):
        ours = logits(model)
    for theirs in (read, to_steering_vectors(steering)):
        with theirs.apply(model.model):
            assert (logits(model) - ours).abs().max() < EXACT
        with theirs.apply(model.model, multiplier=1.1):
            assert (logits(model) - ours).abs().max() > 20 * EXACT
    assert torch.equal(logits(model), before)
    moved = SteeringVector({n - 1: t for n, t in read.layer_activations.items()}, read.layer_type)
    with moved.apply(model.model):
        assert (logits(model) - ours).abs().max() > 20 * EXACT


@pytest.mark.exports
@pytest.mark.parametrize("arch", ["llama", "qwen2", "gpt2", "gemma2"])
def test_repeng_steers_as_we_do_at_every_position(
    tiny: Callable[..., LoadedModel], tmp_path: Path, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "float_", np.float64, raising=False)
    from repeng import ControlModel, ControlVector

    model = tiny(arch)
    layers = (0, 2)
    steering = Composition(tuple(
        Intervention(vector_for(model, layer, seed=layer), 0.5, "all") for layer in layers
    ))  # fmt: skip
    made = export(steering, "repeng", tmp_path / "v.gguf")
    with steering.on(model):
        ours = logits(model)
    read, object_ = (
        ControlVector.import_gguf(made.path),
        to_repeng(steering, model.info.architecture),
    )
    assert read.model_type == object_.model_type == model.info.architecture
    controlled = ControlModel(model.model, layers)
    try:
        for theirs in (read, object_):
            controlled.set_control(theirs)
            assert (logits(model, controlled) - ours).abs().max() < EXACT
            controlled.set_control(theirs, coeff=1.1)
            assert (logits(model, controlled) - ours).abs().max() > 20 * EXACT
            first, last = theirs.directions.values()
            controlled.set_control(ControlVector(arch, {0: last, 2: first}))
            assert (logits(model, controlled) - ours).abs().max() > 20 * EXACT
    finally:
        controlled.unwrap()
