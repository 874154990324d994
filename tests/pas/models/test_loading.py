"""Loading, refusals, and a fingerprint that follows whatever changes an activation."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from tests.helpers.tiny_models import (
    ARCHITECTURES,
    D_MODEL,
    MAX_POSITIONS,
    N_BLOCKS,
    save_tiny,
    tiny_model,
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
