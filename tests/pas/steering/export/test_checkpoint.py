from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    GraniteConfig,
    Olmo2Config,
    PhiConfig,
    Qwen3Config,
)

from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from pas.steering.export.formats import export
from pas.steering.intervention import Composition, Intervention
from tests.helpers.exported import vector_for
from tests.helpers.tiny_models import D_MODEL, N_BLOCKS, save_tiny, tiny_tokenizer

EXACT = 2e-4  # of logits; they agree to 3e-5
TEXT = "It had rained for three days, and the heron by the mill was hungry. " * 3  # beyond a window


@torch.no_grad()
def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = torch.tensor([tokenizer(TEXT).input_ids])
    return model(ids).logits


@pytest.mark.parametrize(
    ("arch", "site", "written"),
    [("llama", "residual", "llama"), ("llama", "attention", "llama"), ("llama", "mlp", "llama"),
     ("mistral", "residual", "smollm3"), ("mistral", "attention", "smollm3"),
     ("qwen2", "residual", "llama"), ("gpt2", "residual", "gpt2"), ("gpt2", "attention", "gpt2"),
     ("gpt2", "mlp_norm", "gpt2")],
)  # fmt: skip
def test_plain_transformers_answers_as_we_do_at_every_position(
    tiny: Callable[..., LoadedModel], tmp_path: Path, arch: str, site: Any, written: str
) -> None:
    model = tiny(arch)
    vector = vector_for(model, 2, site, strength=0.6)
    made = export(vector, "hf", tmp_path / "baked")
    baked = AutoModelForCausalLM.from_pretrained(made.path)
    tokenizer = AutoTokenizer.from_pretrained(made.path)
    assert baked.config.model_type == written
    found = logits(baked, tokenizer)
    with vector.on(model, positions="all"):
        assert (found - logits(model.model, model.tokenizer)).abs().max() < EXACT
    for wrong in (vector_for(model, 1, site, 0.6), vector_for(model, 2, site, 0.66)):
        with wrong.on(model, positions="all"):
            assert (found - logits(model.model, model.tokenizer)).abs().max() > 20 * EXACT
    assert ".bias" in made.notes["hook_point"] and made.notes_path.parent == made.path


def test_several_layers_become_several_biases(tiny: Any, tmp_path: Path) -> None:
    model = tiny("llama")
    steering = Composition(
        tuple(Intervention(vector_for(model, n, seed=n), 0.5, "all") for n in (0, 3))
    )
    made = export(steering, "hf", tmp_path / "baked", strength=-1)
    baked = AutoModelForCausalLM.from_pretrained(made.path)
    with steering.scaled(-1).on(model):
        wanted = logits(model.model, model.tokenizer)
    assert (logits(baked, model.tokenizer) - wanted).abs().max() < EXACT
    biases = {n: p.any().item() for n, p in baked.named_parameters() if n.endswith("bias")}
    assert [name for name, is_on in biases.items() if is_on] == [
        "model.layers.0.mlp.down_proj.bias", "model.layers.3.mlp.down_proj.bias"
    ]  # fmt: skip


@pytest.mark.exports
def test_the_demo_model_writes_the_same_text(smollm: LoadedModel, tmp_path: Path) -> None:
    vector = vector_for(smollm, 14, strength=4)
    made = export(vector, "hf", tmp_path / "baked")
    baked = AutoModelForCausalLM.from_pretrained(made.path)
    tokenizer = AutoTokenizer.from_pretrained(made.path)
    asked = tokenizer("The weather in the mountains was", return_tensors="pt")
    options = {"max_new_tokens": 24, "do_sample": False}
    text = baked.generate(**asked, **options)
    with vector.on(smollm, positions="all"):
        assert torch.equal(text, smollm.model.generate(**asked, **options))
    assert not torch.equal(text, smollm.model.generate(**asked, **options))


def other(config: Any, folder: Path) -> LoadedModel:
    """A tiny random model of an architecture that `tiny_models` lacks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return load_model(ModelSpec(str(folder), device="cpu"), folder / "cache")


def sizes(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tiny_tokenizer()), "hidden_size": D_MODEL, "intermediate_size": 96,
        "num_hidden_layers": N_BLOCKS, "num_attention_heads": 4, "initializer_range": 0.2,
        "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    } | more  # fmt: skip


@pytest.mark.parametrize("config", [GPTNeoXConfig, PhiConfig])
def test_blocks_whose_parts_run_side_by_side(config: Any, tmp_path: Path) -> None:
    model = other(config(**sizes()), tmp_path / "model")
    vector = vector_for(model, 2, strength=0.6)
    made = export(vector, "hf", tmp_path / "baked")
    baked = AutoModelForCausalLM.from_pretrained(made.path)
    with vector.on(model, positions="all"):
        wanted = logits(model.model, model.tokenizer)
    assert (logits(baked, model.tokenizer) - wanted).abs().max() < EXACT


@pytest.mark.parametrize(
    ("config", "words"),
    [(Olmo2Config(**sizes()), "normalises what its MLP adds"),
     (Qwen3Config(**sizes(head_dim=12)), "has no bias there"),
     (GraniteConfig(**sizes(residual_multiplier=0.2)), "scales or normalises")],
)  # fmt: skip
def test_an_architecture_without_such_a_bias_is_refused(
    config: Any, tmp_path: Path, words: str
) -> None:
    model = other(config, tmp_path / "model")
    with pytest.raises(UserError, match=words):
        export(vector_for(model, 2), "hf", tmp_path / "out" / "baked")
    assert not any((tmp_path / "out").iterdir())


def test_gemma_2_is_refused_and_a_folder_that_is_there_too(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gemma2 normalises what its MLP adds"):
        export(vector_for(tiny("gemma2"), 2), "hf", tmp_path / "baked")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UserError, match="it is there already"):
        export(vector_for(tiny("llama"), 2), "hf", tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_checkpoint_in_half_precision_stays_in_it(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    half.save_pretrained(folder)
    model = load_model(ModelSpec(str(folder), device="cpu"), tmp_path / "cache")
    vector = vector_for(model, 2, strength=0.6)
    baked = AutoModelForCausalLM.from_pretrained(
        export(vector, "hf", tmp_path / "baked").path, dtype="auto"
    )
    assert baked.dtype == torch.bfloat16
    with vector.on(model, positions="all"):
        wanted = logits(model.model, model.tokenizer)
    found = logits(baked.float(), model.tokenizer)
    effect = (wanted - logits(model.model, model.tokenizer)).abs().max()
    assert (found - wanted).abs().max() < 0.02 * effect
