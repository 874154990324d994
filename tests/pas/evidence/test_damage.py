"""Damage equals a loop over texts and positions, whatever the architecture, site or batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from pas.engine.prefix import Steering
from pas.errors import UserError
from pas.evidence import damage as module
from pas.evidence.damage import Damage, damage, neutral_texts
from pas.models.loading import LoadedModel, load_model
from pas.models.sites import SITES, Site
from pas.models.spec import ModelSpec
from tests.helpers.pretended_devices import spread
from tests.helpers.tiny_models import (
    D_MODEL,
    N_BLOCKS,
    ONE_FAST,
    tokenizer_for,
    toy_questions,
)

Tiny = Callable[[str], LoadedModel]


def texts_of(n: int) -> list[str]:
    """Texts of different lengths, most longer than the tiny models' sliding window."""
    return [f"{row['question']} {' '.join(row['choices'])}" for row in toy_questions(n, seed=3)]


def random_rows(layers: Sequence[int], scale: float = 0.5) -> list[Steering]:
    made = torch.Generator().manual_seed(5)
    return [Steering(layer, torch.randn(D_MODEL, generator=made) * scale) for layer in layers]


def part_of(network: Any, layer: int, site: Site) -> Any:
    """The module whose output is steered, by the names of each tiny architecture."""
    if network.config.model_type == "gpt2":
        block = network.transformer.h[layer]
        return {"residual": block, "attention": block.attn, "mlp": block.mlp,
                "mlp_norm": block.ln_2}[site]  # fmt: skip
    block = network.model.layers[layer]
    norm = "post_attention_layernorm"
    if network.config.model_type == "gemma2":
        norm = "pre_feedforward_layernorm"
    return {"residual": block, "attention": block.self_attn, "mlp": block.mlp,
            "mlp_norm": getattr(block, norm)}[site]  # fmt: skip


@contextmanager
def adding(part: Any, delta: torch.Tensor) -> Iterator[None]:
    """Every token but the first is steered, one by one."""

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        for position in range(1, hidden.shape[1]):
            hidden[0, position] += delta.to(hidden.dtype)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = part.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def literal(
    model: LoadedModel, texts: Sequence[str], rows: Sequence[Steering], site: Site
) -> list[Damage]:
    """Predict each token from the third on by itself, from its own prefix."""

    def predicted(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits
        return torch.log_softmax(logits[0, -1].double(), dim=-1)

    # Per row: divergence, then the next token's unsteered and steered negative log-likelihood.
    sums, n = np.zeros((len(rows), 3)), 0
    for text in texts:
        ids = list(model.tokenizer(text)["input_ids"])
        for end in range(2, len(ids)):
            p = predicted(ids[:end])
            for total, row in zip(sums, rows, strict=True):
                with adding(part_of(model.model, row.layer, site), row.delta):
                    q = predicted(ids[:end])
                total += [sum((p.exp() * (p - q)).tolist()), -p[ids[end]], -q[ids[end]]]
            n += 1
    return [Damage(*(total / n).tolist(), n) for total in sums]


def assert_same(found: Sequence[Damage], expected: Sequence[Damage], rel: float = 1e-4) -> None:
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        assert tuple(left) == pytest.approx(tuple(right), rel=rel, abs=1e-6)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("arch", ONE_FAST)
def test_equals_a_loop_over_texts_and_positions(tiny: Tiny, arch: str, site: Site) -> None:
    model, texts, rows = tiny(arch), texts_of(2), random_rows([2, 0, N_BLOCKS - 1])
    assert len({len(model.tokenizer(text)["input_ids"]) for text in texts}) == 2
    expected = literal(model, texts, rows, site)
    assert all(one.kl > 1e-4 and one.nll_before != one.nll_after for one in expected)
    assert_same(damage(model, texts, rows, site), expected)


def test_the_models_own_code_makes_the_logits(tmp_path: Path) -> None:
    """Granite divides them, by a name that nothing in `pas` knows."""
    tokenizer = tokenizer_for("llama")
    config = transformers.GraniteConfig(
        hidden_size=D_MODEL, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
        logits_scaling=4.0, initializer_range=0.2, vocab_size=len(tokenizer), bos_token_id=0,
        eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.AutoModelForCausalLM.from_config(config)
    network.save_pretrained(tmp_path / "granite")
    tokenizer.save_pretrained(tmp_path / "granite")
    model = load_model(ModelSpec(str(tmp_path / "granite"), device="cpu"), tmp_path / "cache")
    (row,) = random_rows([1])
    expected = literal(model, texts_of(1), [row], "residual")
    assert_same(damage(model, texts_of(1), [row]), expected)


@pytest.mark.parametrize("site", ["residual", "mlp"])
def test_blocks_may_be_on_several_devices(tiny: Tiny, site: Site, tmp_path: Path) -> None:
    one, two = tiny("llama"), load_model(tiny("llama").spec, tmp_path)
    texts, rows = texts_of(3), random_rows([1, N_BLOCKS - 1])
    expected = damage(one, texts, rows, site)
    with spread(two.model):
        assert_same(damage(two, texts, rows, site), expected)


@pytest.mark.parametrize("arch", ["gemma2", "gpt2"])
def test_batched_equals_one_by_one(tiny: Tiny, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts, rows = tiny(arch), texts_of(7), random_rows([3, 0, 1, 3])
    together = damage(model, texts, rows)
    by_row = [damage(model, texts, [row])[0] for row in rows]
    assert_same(together, by_row)
    singles = [damage(model, [text], rows) for text in texts]
    n = sum(found[0].n_tokens for found in singles)
    for at, whole in enumerate(together):
        for name in ("kl", "nll_before", "nll_after"):
            total = sum(getattr(found[at], name) * found[at].n_tokens for found in singles)
            assert getattr(whole, name) == pytest.approx(total / n, rel=1e-4)
        assert whole.n_tokens == n
    assert_same(damage(model, texts, rows, token_budget=1), together)
    # A few positions of logits at a time, and each text by itself for want of room.
    monkeypatch.setattr(module, "LOGIT_FLOATS", 12 * 420)
    assert_same(damage(model, texts, rows), together)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nothing_added_is_exactly_no_damage(tiny: Tiny, site: Site, dtype: str) -> None:
    model = tiny("llama")
    rows = [Steering(layer, torch.zeros(D_MODEL)) for layer in range(N_BLOCKS)]
    if dtype != "float32":
        spec = replace(model.spec, dtype=dtype)
        model = load_model(spec, Path(spec.id).parent / "cache")
        assert model.model.dtype == torch.bfloat16
    for found in damage(model, texts_of(4), rows, site):
        assert found.kl == 0.0 and found.nll_before == found.nll_after > 1


def test_half_precision_measures_the_same_damage(tiny: Tiny) -> None:
    model = tiny("qwen2")
    rows = random_rows([0, 2])
    spec = replace(model.spec, dtype="bfloat16")
    half = load_model(spec, Path(spec.id).parent / "cache")
    assert_same(damage(half, texts_of(4), rows), damage(model, texts_of(4), rows), rel=0.1)


def test_memory_that_runs_out_halves_the_batch(tiny: Tiny) -> None:
    model, texts, rows = tiny("llama"), texts_of(6), random_rows([1, 3])
    expected = damage(model, texts, rows)
    sizes: list[int] = []

    def before(_: Any, args: Any, kwargs: Any) -> None:
        sizes.append((args[0] if args else kwargs["hidden_states"]).shape[0])
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError

    handle = model.model.model.layers[3].register_forward_pre_hook(before, with_kwargs=True)
    try:
        found = damage(model, texts, rows)
    finally:
        handle.remove()
    assert max(sizes) == len(texts) and 2 in sizes
    assert_same(found, expected)


@pytest.mark.parametrize("apart", [True, False])
def test_lower_blocks_are_left_out_only_where_nothing_misses_them(
    tiny: Tiny, apart: bool, tmp_path: Path
) -> None:
    model, texts, rows = tiny("llama"), texts_of(2), random_rows([2])
    layers = model.model.model.layers
    kept: list[torch.Tensor] = []
    runs: list[int] = []

    def give(_module: Any, _args: Any, output: torch.Tensor) -> None:
        runs.append(output.shape[0])
        kept.append(output)

    def take(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + kept.pop() if kept else output

    handles = [layers[0].mlp.register_forward_hook(give)]
    if not apart:
        handles.append(layers[3].mlp.register_forward_hook(take))
    try:
        found = damage(model, texts, rows)
        passes = len(runs)
        expected = literal(model, texts, rows, "residual")
    finally:
        for handle in handles:
            handle.remove()
    assert_same(found, expected)
    # Once for the trial, once unsteered, and once more only if the row has to start below.
    assert passes == (2 if apart else 3)


def test_the_model_is_left_as_it_was(tiny: Tiny) -> None:
    model = tiny("gpt2")
    ids = torch.tensor([model.tokenizer(texts_of(1)[0])["input_ids"]])
    blocks = model.model.transformer.h
    own = blocks[1].forward
    blocks[1].forward = own  # as accelerate does
    try:
        with torch.no_grad():
            before = model.model(input_ids=ids).logits
            damage(model, texts_of(2), random_rows([3, 1]), "mlp")
            after = model.model(input_ids=ids).logits
        assert torch.equal(before, after)
        assert vars(blocks[1])["forward"] is own
        assert all("forward" not in vars(block) for block in (blocks[0], blocks[2], blocks[3]))
    finally:
        del blocks[1].forward


def test_a_model_that_overflows_is_not_called_sound(tiny: Tiny) -> None:
    model = tiny("llama")
    (found,) = damage(model, texts_of(1), [Steering(1, torch.full((D_MODEL,), float("inf")))])
    assert np.isnan(found.kl) and np.isnan(found.nll_after) and found.nll_before > 1


def test_what_cannot_be_measured_is_refused(tiny: Tiny) -> None:
    model, (row,) = tiny("llama"), random_rows([1])
    assert damage(model, texts_of(1), []) == []
    with pytest.raises(UserError, match="no text"):
        damage(model, [], [row])
    with pytest.raises(UserError, match=r"'a' has \d tokens.*third"):
        damage(model, [texts_of(1)[0], "a"], [row])
    with pytest.raises(UserError, match="context window"):
        damage(model, ["heron " * 2000], [row])
    with pytest.raises(UserError, match="layer 4 does not exist"):
        damage(model, texts_of(1), [row, Steering(N_BLOCKS, row.delta)])


def test_neutral_texts_are_many_short_and_plain() -> None:
    texts = neutral_texts()
    assert len(texts) == len(set(texts)) == 40
    words = [len(text.split()) for text in texts]
    assert min(words) >= 7 and max(words) <= 30 and 600 <= sum(words) <= 1000
    assert all(text.isascii() and text == text.strip() for text in texts)


def test_the_demo_model_finds_neutral_text_plain_and_a_large_vector_harmful(
    smollm: LoadedModel,
) -> None:
    made = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(576, generator=made), dim=0)
    small, large = damage(
        smollm, neutral_texts()[:8], [Steering(12, 5 * unit), Steering(12, 80 * unit)]
    )
    # Far below the ln 49152 = 10.8 nats of a model that knows nothing.
    assert small.nll_before == large.nll_before < 4.5
    assert 0 < small.kl < 0.2 < 1 < large.kl
    assert large.nll_after > small.nll_after + 0.5
