"""Batched last-token capture equals reading one prompt at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pas.data.prompts import Prompt, encode
from pas.engine.extract import capture, read
from pas.engine.hooked import last_hidden
from pas.engine.scoring import Query, ScoringRule, prepare
from pas.engine.sweep import score_rows
from pas.engine.trie import trie_size
from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.sites import SITES, Site, site_module
from pas.models.spec import ModelSpec
from tests.helpers.pretended_devices import spread
from tests.helpers.tiny_models import (
    ARCHITECTURES,
    D_MODEL,
    N_BLOCKS,
    WRAPPERS,
    save_tiny,
    toy_questions,
)

Tiny = Callable[[str], LoadedModel]


def prompts_of(model: LoadedModel, n: int = 9) -> list[Prompt]:
    texts = [f"{q['question']} {q['choices'][0]}" * (1 + i % 3)
             for i, q in enumerate(toy_questions(n))]  # fmt: skip
    return [encode(model.info, text) for text in texts]


@contextmanager
def watching(model: LoadedModel, see: Callable[[torch.Size], None]) -> Iterator[None]:
    """Call `see` with the [batch, length] of every forward pass before it runs."""

    def before(_: Any, __: Any, kwargs: Any) -> None:
        see(kwargs["input_ids"].shape)

    handle = model.model.base_model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WRAPPERS])
def test_batched_equals_one_by_one_in_the_prompts_order(tiny: Tiny, arch: str, site: Site) -> None:
    model = tiny(arch)
    prompts = prompts_of(model)
    layers = [*range(-1 if site == "residual" else 0, N_BLOCKS)]
    alone = [capture(model, [p], layers, site).values[0] for p in prompts]
    assert alone[0].shape == (len(layers), D_MODEL)
    for engine in ("prefix", "hooks"):
        found = capture(model, prompts, layers[::-1], site, token_budget=200, engine=engine)
        assert found.layers == tuple(layers)
        assert found.keys == tuple(p.key for p in prompts)
        assert found.n_tokens == tuple(len(p.token_ids) for p in prompts)
        torch.testing.assert_close(found.values, torch.stack(alone), atol=1e-4, rtol=1e-4)
    for side in ("left", "right"):
        sequences = [p.token_ids for p in prompts]
        values = last_hidden(model, sequences, layers, site, side)
        torch.testing.assert_close(values, torch.stack(alone), atol=1e-4, rtol=1e-4)
    assert found.values.dtype == torch.float32


@pytest.mark.parametrize("engine", ["prefix", "hooks"])
@pytest.mark.parametrize("kind", ["letter", "choice"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_answers_come_from_the_pass_that_reads_activations(
    tiny: Tiny, arch: str, kind: str, engine: str
) -> None:
    model, prompts = tiny(arch), prompts_of(tiny(arch))
    asked = questions_of(model, kind)
    # Everything begins with the same hundred tokens, as with a few-shot prefix.
    shared = tuple(range(3, 30)) * 4
    prompts = [p._replace(token_ids=shared + p.token_ids) for p in prompts]
    asked = [
        q._replace(sequences=tuple(t._replace(token_ids=shared + t.token_ids) for t in q.sequences))
        for q in asked
    ]
    activations, scores = read(
        model, prompts, [0, 2], questions=asked, token_budget=300, engine=engine
    )
    alone = torch.stack([capture(model, [p], [0, 2], engine="hooks").values[0] for p in prompts])
    torch.testing.assert_close(activations.values, alone, atol=1e-4, rtol=1e-4)
    for question, found in zip(asked, scores, strict=True):
        (expected,) = score_rows(model, [question], [], engine="hooks")
        torch.testing.assert_close(found, expected[0], atol=2e-4, rtol=0)
    none = read(model, [], [0], questions=asked, engine=engine)
    assert none.activations.values.shape == (0, 1, D_MODEL) and len(none.scores) == len(asked)


def questions_of(model: LoadedModel, kind: str) -> list[Query]:
    rule = ScoringRule(kind)
    return [prepare(model.info, q["question"], q["choices"], q["label"], rule)
            for q in toy_questions(6)]  # fmt: skip


def test_what_prompts_share_is_run_once(tiny: Tiny) -> None:
    model, shapes = tiny("llama"), []
    text = toy_questions(1)[0]["question"]
    prompts = [encode(model.info, f"{text} {end}") for end in ("yes", "no", "maybe so")]
    capture(model, prompts[:1], [0])  # the engine has been tried by now
    with watching(model, shapes.append):
        capture(model, prompts, [0])
    assert shapes == [(1, trie_size([p.token_ids for p in prompts]))]
    assert shapes[0][1] < sum(len(p.token_ids) for p in prompts) - 10


def test_the_residual_layers_are_the_models_hidden_states(tiny: Tiny) -> None:
    model = tiny("qwen2")
    (prompt,) = prompts_of(model, 1)
    found = capture(model, [prompt], range(-1, N_BLOCKS - 1)).values[0]
    with torch.inference_mode():
        out = model.model(torch.tensor([prompt.token_ids]), output_hidden_states=True)
    states = torch.stack([hidden[0, -1] for hidden in out.hidden_states[:-1]])
    torch.testing.assert_close(found, states)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_mlp_norm_is_what_the_mlp_reads(tiny: Tiny, arch: str) -> None:
    model, layer, seen = tiny(arch), 2, []
    (prompt,) = prompts_of(model, 1)
    mlp = site_module(model.model, layer, "mlp")
    handle = mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1]))
    try:
        found = capture(model, [prompt], [layer], "mlp_norm").values[0, 0]
    finally:
        handle.remove()
    torch.testing.assert_close(found, seen[-1])  # before it the engine may check itself


@pytest.mark.parametrize("layer", [-2, N_BLOCKS])
def test_a_layer_that_does_not_exist_is_refused(tiny: Tiny, layer: int) -> None:
    model = tiny("llama")
    with pytest.raises(UserError, match=f"layer {layer} does not exist"):
        capture(model, prompts_of(model, 1), [layer])
    with pytest.raises(UserError, match="layer -1 does not exist"):
        capture(model, prompts_of(model, 1), [-1], "mlp")


def test_the_token_budget_bounds_every_forward_pass(tiny: Tiny) -> None:
    model, shapes = tiny("gpt2"), []
    prompts = prompts_of(model)
    longest = max(len(p.token_ids) for p in prompts)
    for engine in ("prefix", "hooks"):
        capture(model, prompts[:1], [0], engine=engine)
        shapes.clear()
        with watching(model, shapes.append):
            capture(model, prompts, [0], token_budget=2 * longest, engine=engine)
        assert all(batch * length <= 2 * longest for batch, length in shapes)
        assert 1 < len(shapes) < len(prompts)


@pytest.mark.parametrize("engine", ["prefix", "hooks"])
def test_out_of_memory_halves_the_batch(tiny: Tiny, engine: str) -> None:
    model, sizes = tiny("llama"), []
    prompts = prompts_of(model)
    expected = capture(model, prompts, [1, 3]).values
    longest = max(len(p.token_ids) for p in prompts)

    def memory_for(limit: int) -> Callable[[torch.Size], None]:
        def see(shape: torch.Size) -> None:
            sizes.append(shape[0] * shape[1])
            if sizes[-1] > limit:
                raise torch.OutOfMemoryError

        return see

    with watching(model, memory_for(2 * longest)):
        found = capture(model, prompts, [1, 3], token_budget=10**6, engine=engine).values
    assert sizes[0] > 2 * longest and len(sizes) > 3
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with watching(model, memory_for(0)), pytest.raises(torch.OutOfMemoryError):
        capture(model, prompts[:2], [1], engine=engine)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_come_in_the_models_dtype(tmp_path: Any, dtype: str) -> None:
    spec = ModelSpec(str(save_tiny("llama", tmp_path / "llama")), dtype=dtype, device="cpu")
    model = load_model(spec, tmp_path / "cache")
    values = capture(model, prompts_of(model, 3), [-1, 2]).values
    assert values.dtype == getattr(torch, dtype)
    assert values.isfinite().all() and values.abs().max() > 0


@pytest.mark.parametrize("engine", ["prefix", "hooks"])
def test_layers_may_be_on_several_devices(tiny: Tiny, engine: str, tmp_path: Path) -> None:
    one, two = tiny("llama"), load_model(tiny("llama").spec, tmp_path)
    layers, prompts = [-1, 0, N_BLOCKS - 1], prompts_of(one)
    expected = capture(one, prompts, layers, engine=engine)
    with spread(two.model):
        found = capture(two, prompts, layers, engine=engine)
    assert found.values.device.type == "cpu"
    torch.testing.assert_close(found.values, expected.values)
