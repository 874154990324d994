"""Loading, refusals, and a fingerprint that follows whatever changes an activation."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType
from transformers import AutoModelForCausalLM

from pas.engine.prefix import Steering
from pas.engine.scoring import ScoringRule, prepare
from pas.engine.sweep import score_rows
from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec, Quantization
from tests.helpers.gguf_files import small_llama, write_gguf
from tests.helpers.tiny_models import (
    ARCHITECTURES,
    D_MODEL,
    MAX_POSITIONS,
    N_BLOCKS,
    save_tiny,
    tiny_model,
    tiny_tokenizer,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "llama")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_loaded_model_knows_itself(tiny: Callable[[str], LoadedModel], arch: str) -> None:
    model = tiny(arch)
    tokens = model.info
    assert (tokens.n_layers, tokens.d_model) == (model.n_layers, D_MODEL) == (N_BLOCKS, D_MODEL)
    assert tokens.context_window == MAX_POSITIONS
    stored = sum(p.numel() for p in model.model.parameters())
    assert tokens.n_parameters == pytest.approx(stored, rel=0.05)
    assert not model.model.training and model.model.dtype == torch.float32
    assert model.pad_id == model.tokenizer.pad_token_id


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_loading_changes_no_logit(tiny: Callable[[str], LoadedModel], arch: str) -> None:
    """Gemma 2 caps its attention logits, which the fused kernels leave out."""
    ids = torch.arange(60)[None]
    with torch.no_grad():
        torch.testing.assert_close(tiny(arch).model(ids).logits, tiny_model(arch)(ids).logits)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_asked_for_is_loaded(folder: Path, dtype: str) -> None:
    model = load_model(ModelSpec(str(folder), dtype=dtype, device="cpu"), folder.parent / "cache")
    assert model.model.dtype == getattr(torch, dtype)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"id": "nowhere/at/all"}, "no such folder, and this is not a valid hub id"),
        ({"id": "nowhere.gguf"}, "no such GGUF file"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"dtype": "int3"}, "dtype 'int3' is not one of auto, float32"),
        ({"quantization": "3bit"}, "quantization '3bit' is not one of 4bit, 8bit"),
        ({"quantization": "4bit"}, "needs bitsandbytes. Install it with pip install"),
        ({"device": "cuda"}, "no CUDA"),
    ],
)
def test_a_wrong_spec_is_refused(
    folder: Path, wrong: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine that has them, both are hidden.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=reason):
        spec = ModelSpec(**({"id": str(folder), "device": "cpu"} | wrong))
        load_model(spec, folder.parent / "cache")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.json", None, "the folder has no config.json"),
        ("config.json", "{", "cannot be read"),
        ("model.safetensors", None, "the folder has no weights"),
        ("model.safetensors", "xx", "cannot be read"),
        ("tokenizer.json", None, "cannot be read"),
        ("tokenizer.json", "{", "cannot be read"),
    ],
)
def test_a_damaged_folder_is_refused(
    folder: Path, name: str, text: str | None, reason: str
) -> None:
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=f"--model .*{folder.name}: .*{reason}"):
        load_model(ModelSpec(str(folder), device="cpu"), folder.parent / "cache")


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"no magic here")
    with pytest.raises(UserError, match="x.gguf: its files cannot be read"):
        load_model(ModelSpec(str(path)), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "models").iterdir())


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("F32", 0.0), ("F16", 0.03), ("BF16", 0.2), ("Q8_0", 0.5), ("Q4_0", 6.0)],
)
def test_a_gguf_file_of_every_kind_is_converted(
    tmp_path: Path, kind: str, tolerance: float
) -> None:
    """The file's own numbers are loaded, as far as its type rounds them."""
    original = small_llama()
    path = write_gguf(tmp_path / "tiny.gguf", original, GGMLQuantizationType[kind])
    model = load_model(ModelSpec(str(path), device="cpu"), tmp_path / "cache")
    text = "Where does the heron sleep?"
    ids = tiny_tokenizer(bos=False)(text)["input_ids"]
    assert model.tokenizer(text)["input_ids"] == ids
    with torch.no_grad():
        found, exact = (m(torch.tensor([ids])).logits for m in (model.model, original))
    error = float((found - exact).abs().max())
    assert error <= tolerance < float(exact.abs().max()) * 1.5
    assert kind == "F32" or error > 0
    assert model.model.dtype == torch.float32
    assert not list((tmp_path / "cache" / "models").glob(".tmp-*"))


def save_sentencepiece(folder: Path) -> Path:
    """Put a tokenizer.model, as Llama and Vicuna have it, in place of the tokenizer.json."""
    pb = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    model = pb.ModelProto()
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    pieces += [(f"<0x{byte:02X}>", 6) for byte in range(256)]
    pieces += [(piece, 1) for piece in ("▁A", "▁the", "he", "▁t", *"▁Aehtwn")]
    for rank, (piece, kind) in enumerate(pieces):
        model.pieces.add(piece=piece, score=-float(rank), type=kind)
    model.trainer_spec.model_type = 2  # BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    return only_sentencepiece(folder)


def only_sentencepiece(folder: Path) -> Path:
    (folder / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>",
                "eos_token": "</s>", "unk_token": "<unk>"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_a_tokenizer_of_sentencepiece(folder: Path) -> None:
    save_sentencepiece(folder)
    model = load_model(ModelSpec(str(folder), device="cpu"), folder.parent / "cache")
    ids = model.tokenizer("A the ü")["input_ids"]
    tokens = model.tokenizer.convert_ids_to_tokens(ids)
    assert tokens == ["<s>", "▁A", "▁the", "▁", "<0xC3>", "<0xBC>"]
    assert model.tokenizer.decode(ids, skip_special_tokens=True) == "A the ü"


def test_a_tokenizer_of_sentencepiece_names_the_package_that_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_sentencepiece(folder)
    (folder / "tokenizer.model").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"pip install 'painless-steering\[sentencepiece\]'"):
        load_model(ModelSpec(str(folder), device="cpu"), folder.parent / "cache")


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantised_weights(tmp_path: Path, bits: Quantization) -> None:
    """Extraction and sweep with them, and a folder that was saved with them."""
    pytest.importorskip("bitsandbytes")
    small_llama().save_pretrained(tmp_path / "whole")
    tiny_tokenizer().save_pretrained(tmp_path / "whole")
    spec = ModelSpec(str(tmp_path / "whole"), device="cpu", quantization=bits)
    model = load_model(spec, tmp_path / "cache")
    kept = next(model.model.model.layers[0].mlp.up_proj.parameters())
    assert kept.dtype in (torch.int8, torch.uint8)
    question = prepare(model.info, "Who?", ("A heron.", "Nobody"), 0, ScoringRule("choice"))
    rows = [Steering(1, torch.ones(64))]
    fast, slow = (score_rows(model, [question], rows, engine=e)[0] for e in ("prefix", "hooks"))
    torch.testing.assert_close(fast, slow, atol=0.25, rtol=0)
    model.model.save_pretrained(tmp_path / "saved")
    tiny_tokenizer().save_pretrained(tmp_path / "saved")
    again = load_model(ModelSpec(str(tmp_path / "saved"), device="cpu"), tmp_path / "cache")
    scores = score_rows(again, [question], rows, engine="hooks")[0]
    torch.testing.assert_close(scores, slow, atol=0.3, rtol=0)


def test_every_gpu_together_is_the_one_device_where_there_is_no_more(
    folder: Path,
) -> None:
    cache = folder.parent / "cache"
    one = load_model(ModelSpec(str(folder), device="cpu"), cache)
    spread = load_model(ModelSpec(str(folder), device="all", dtype="float32"), cache)
    assert len(spread.devices) == max(1, torch.cuda.device_count())
    assert not any(p.is_meta for p in spread.model.parameters())
    ids = torch.arange(40)[None]
    with torch.no_grad():
        found = spread.model(ids.to(spread.device)).logits.cpu()
        torch.testing.assert_close(found, one.model(ids).logits, atol=1e-3, rtol=1e-3)


def test_a_model_larger_than_the_gpus_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As accelerate reports it: what does not fit is left on the CPU or on disk."""
    load = AutoModelForCausalLM.from_pretrained

    def placed(*args: Any, **options: Any) -> Any:
        assert options.pop("device_map") == "auto"
        model, report = load(*args, **options)
        model.hf_device_map = {"model.layers.0": 0, "model.layers.1": "disk"}
        return model, report

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", placed)
    with pytest.raises(UserError, match="it does not fit on the GPUs"):
        load_model(ModelSpec(str(folder), device="all"), folder.parent / "cache")


def test_an_architecture_that_writes_no_text_is_refused(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "clip", "dtype": "float32"}))
    with pytest.raises(UserError, match=f"--model .*{folder.name}: "):
        load_model(ModelSpec(str(folder), device="cpu"), folder.parent / "cache")
