from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import save_file

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.export.foreign import Choice, import_vector
from pas.steering.export.formats import export
from pas.steering.intervention import Composition, Intervention, interventions_of
from pas.steering.vector import SteeringVector
from tests.helpers.exported import vector_for
from tests.helpers.pickles import Harmful
from tests.helpers.tiny_models import D_MODEL, N_BLOCKS

Places = dict[tuple[int, str], np.ndarray]


def added(steering: Any) -> Places:
    """What is added in each place."""
    return {
        (one.vector.layer, one.vector.site): one.strengths[0] * one.vector.direction
        for one in interventions_of(steering)
    }


def same(one: Places, other: Places) -> bool:
    return one.keys() == other.keys() and all(
        np.allclose(one[place], other[place], rtol=1e-6) for place in one
    )


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("to", "site"),
    [("gguf", "residual"), ("repeng", "residual"), ("vllm", "residual"), ("lm-eval", "residual"),
     ("lm-eval", "attention"), ("lm-eval", "mlp_norm"), ("steering-vectors", "mlp")],
)  # fmt: skip
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_what_was_exported_comes_back(
    tiny: Any, tmp_path: Path, arch: str, to: str, site: Any
) -> None:
    model = tiny(arch)
    for layers in ((2,), (1, 3)):
        steering = Composition(
            tuple(Intervention(vector_for(model, n, site, seed=n), 0.5 * n) for n in layers)
        )
        ending = ".gguf" if to in ("gguf", "repeng") else ".pt"
        made = export(steering, to, tmp_path / f"{len(layers)}{ending}")
        found = import_vector(made.path, model.spec)
        if to == "vllm":  # the strength is in the request
            steering = Composition(tuple(Intervention(one.vector, 1.0) for one in steering))
        assert same(added(found), added(steering))
        assert isinstance(found, SteeringVector if len(layers) == 1 else Composition)
        if isinstance(found, Composition):
            assert {one.positions for one in found} == {"all"}


def test_an_imported_vector_is_one_of_ours(tiny: Any, tmp_path: Path) -> None:
    model = tiny("llama")
    save_file({"whatever": random(D_MODEL).half()}, tmp_path / "happy.safetensors")
    found = import_vector(
        tmp_path / "happy.safetensors", model.spec, Choice(layers=(2,)), strength=3
    )
    assert isinstance(found, SteeringVector)
    assert (found.layer, found.strength, found.task, found.method) == (2, 3, "happy", "imported")
    assert found.fingerprint == model.fingerprint and found.architecture == "llama"
    assert found.provenance["imported"]["from"] == "happy.safetensors"
    found.save(tmp_path / "vector")
    assert SteeringVector.load(tmp_path / "vector").digest == found.digest
    with found.on(model):
        model.model(torch.tensor([[5, 6, 7]]), attention_mask=torch.ones(1, 3))


@pytest.mark.parametrize(
    ("tensors", "choice", "layers"),
    [
        ({"layer_1": random(D_MODEL), "layer_3": random(D_MODEL)}, Choice(), [1, 3]),
        ({"model.layers.2.weight": random(1, D_MODEL)}, Choice(), [2]),
        ({"1": random(D_MODEL).bfloat16()}, Choice(numbering="hidden-states"), [0]),
        ({"v": random(N_BLOCKS, D_MODEL)}, Choice(), [0, 1, 2, 3]),
        ({"v": random(N_BLOCKS, D_MODEL)}, Choice(layers=(2, 0)), [0, 2]),
        ({"v": random(N_BLOCKS + 1, D_MODEL)}, Choice((1,), "hidden-states"), [1]),
    ],
)
@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_tensors_of_other_tools(
    tiny: Any, tmp_path: Path, tensors: Any, choice: Choice, layers: list[int], ending: str
) -> None:
    file = tmp_path / f"v{ending}"
    (save_file if ending == ".safetensors" else torch.save)(tensors, file)
    found = added(import_vector(file, tiny("llama").spec, choice))
    assert [layer for layer, _ in found] == layers
    [name] = tensors if len(tensors) == 1 else [f"layer_{layers[-1]}"]
    wanted = tensors[name].float().reshape(-1, D_MODEL).numpy()
    row = layers[-1] + (choice.numbering == "hidden-states") if len(wanted) > 1 else 0
    assert np.array_equal(found[layers[-1], "residual"], wanted[row])


def gguf(file: Path, architecture: str = "controlvector", **tensors: np.ndarray) -> Path:
    writer = GGUFWriter(str(file), architecture)
    writer.add_string("controlvector.model_hint", "llama")
    for name, values in tensors.items():
        writer.add_tensor(name.replace("_", "."), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


NUMBERS = random(D_MODEL)
BAD: list[tuple[str, Any, Choice, str]] = [
    ("v.safetensors", {"v": NUMBERS}, Choice(), "does not say which layer it is for"),
    ("v.safetensors", {"a": NUMBERS, "layer_1": NUMBERS + 1}, Choice(), "does not end in the num"),
    ("v.safetensors", {"a.1": NUMBERS, "b.1": NUMBERS + 1}, Choice(), "several tensors are for"),
    ("v.safetensors", {"layer_1": random(7)}, Choice(), r"layer 1 has shape \[7\]"),
    ("v.safetensors", {"layer_9": NUMBERS}, Choice(), "block 9 does not exist"),
    ("v.safetensors", {"0": NUMBERS}, Choice(numbering="hidden-states"), "block -1 does not exist"),
    ("v.safetensors", {"layer_1": NUMBERS * torch.nan}, Choice(), "not finite"),
    ("v.safetensors", {"layer_1": NUMBERS * 0}, Choice(), "no direction that is not zero"),
    ("v.safetensors", {"layer_1": NUMBERS.int()}, Choice(), "no tensor of floating-point numbers"),
    ("v.safetensors", {"v": random(N_BLOCKS + 1, D_MODEL)}, Choice(), "--numbering hidden-states"),
    ("v.safetensors", {"layer_1": NUMBERS}, Choice((2,)), "nothing for layer 2"),
    ("v.pt", {"layers.1": {"steering_vector": NUMBERS, "action": "clamp"}}, Choice(), "only the a"),
    ("v.pt", {"lm_head": {"steering_vector": NUMBERS, "action": "add"}}, Choice(), "is no site"),
    ("v.pt", {"layer_activations": {1: NUMBERS}, "layer_type": "x"}, Choice(), "layer type x is"),
    ("v.pt", [NUMBERS], Choice(), "no tensors by layer or name"),
    ("v.npz", None, Choice(), "give a file that ends in .gguf"),
]


@pytest.mark.parametrize(("name", "content", "choice", "words"), BAD)
def test_a_file_that_is_no_vector_is_refused(
    tiny: Any, tmp_path: Path, name: str, content: Any, choice: Choice, words: str
) -> None:
    if name.endswith(".safetensors"):
        save_file(content, tmp_path / name)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: cannot be imported: .*{words}"):
        import_vector(tmp_path / name, tiny("llama").spec, choice)


def test_damaged_files_and_gguf_files_of_models_are_refused(tiny: Any, tmp_path: Path) -> None:
    numbers = NUMBERS.numpy()
    spec = tiny("llama").spec
    for file, words in (
        (gguf(tmp_path / "model.gguf", "llama", direction_1=numbers), "GGUF file of llama"),
        (gguf(tmp_path / "other.gguf", weight=numbers), "no direction.N"),
        (gguf(tmp_path / "int.gguf", direction_1=numbers.astype(np.int32)), "not of type float32"),
        (tmp_path / "absent.gguf", "absent.gguf: cannot be imported"),
    ):
        with pytest.raises(UserError, match=words):
            import_vector(file, spec)
    for name in ("half.gguf", "half.safetensors", "half.pt"):
        (tmp_path / name).write_bytes(b"GGUF\0\0\0")
        with pytest.raises(UserError, match=f"{name}: cannot be imported"):
            import_vector(tmp_path / name, spec)


def test_code_in_a_file_is_not_run(tiny: Any, tmp_path: Path) -> None:
    for number, content in enumerate(
        ({1: Harmful(tmp_path / "trace")}, Harmful(tmp_path / "trace"))
    ):
        torch.save(content, tmp_path / f"{number}.pt")
        with pytest.raises(UserError, match="which could run code, so it is not loaded"):
            import_vector(tmp_path / f"{number}.pt", tiny("llama").spec)
    assert not (tmp_path / "trace").exists()
    torch.load(tmp_path / "1.pt", weights_only=False)
    assert (tmp_path / "trace").exists(), "the file does nothing, so the test says nothing"


def test_a_vector_of_ours_needs_no_import(tiny: Any, tmp_path: Path) -> None:
    vector_for(tiny("llama"), 1).save(tmp_path / "v.safetensors")
    with pytest.raises(UserError, match="SteeringVector.load reads it"):
        import_vector(tmp_path / "v.safetensors", tiny("llama").spec)


@pytest.mark.exports
def test_what_steering_vectors_and_repeng_made_steers_here_as_there(
    tiny: Callable[..., LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "float_", np.float64, raising=False)
    import repeng
    import steering_vectors

    model = tiny("llama")
    ids = torch.tensor([model.tokenizer("Where does the heron sleep?").input_ids])
    pairs = [("It eats small fish.", "It eats old bread."), ("The heron sat.", "The mole dug.")]
    trained = steering_vectors.train_steering_vector(model.model, model.tokenizer, pairs)
    torch.save(trained.layer_activations, tmp_path / "trained.pt")
    with torch.no_grad(), trained.apply(model.model):
        theirs = model.model(ids).logits
    for source in (trained, tmp_path / "trained.pt"):
        found = import_vector(source, model.spec)
        with torch.no_grad(), found.on(model):
            assert (model.model(ids).logits - theirs).abs().max() < 1e-4
    assert (model.model(ids).logits - theirs).abs().max() > 0.1

    data = [repeng.DatasetEntry(*pair) for pair in pairs * 2]
    controlled = repeng.ControlModel(model.model, [1, 2])
    try:
        learnt = repeng.ControlVector.train(controlled, model.tokenizer, data)
        controlled.set_control(learnt, coeff=2.0)
        with torch.no_grad():
            theirs = controlled(ids).logits
    finally:
        controlled.unwrap()
    learnt.export_gguf(tmp_path / "learnt.gguf")
    for source in (learnt, tmp_path / "learnt.gguf"):
        found = import_vector(source, model.spec, Choice(layers=(1, 2)), strength=2.0)
        with torch.no_grad(), found.on(model):
            assert (model.model(ids).logits - theirs).abs().max() < 1e-4
    assert (model.model(ids).logits - theirs).abs().max() > 0.1
