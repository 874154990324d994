"""Steering around whatever runs the model, against a loop that re-runs whole sequences."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TextIteratorStreamer, pipeline

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.sites import text_decoder
from pas.steering.apply import steer
from pas.steering.intervention import Composition, Intervention
from pas.steering.operations import OPERATIONS, Operation
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.steering import TEXTS, a_vector, tokens_of, used
from tests.helpers.tiny_models import ARCHITECTURES, ONE_FAST

Tiny = Callable[..., LoadedModel]
RULES = ("generated", "all", "prompt", "first:3")
N_NEW = 5


def padded(model: LoadedModel, rows: Sequence[Sequence[int]], side: str) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), model.pad_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        part = slice(longest - len(tokens), None) if side == "left" else slice(len(tokens))
        ids[row, part] = torch.tensor(tokens)
        mask[row, part] = 1
    return {"input_ids": ids, "attention_mask": mask}


def continued(model: LoadedModel, rows: Sequence[Sequence[int]], **options: Any) -> list[list[int]]:
    """`generate` of transformers itself, which never ends a sequence early here."""
    inputs = padded(model, rows, "left")
    settings = {"max_new_tokens": N_NEW, "min_new_tokens": N_NEW, "do_sample": False} | options
    output = model.model.generate(**inputs, **settings, pad_token_id=model.pad_id)
    return [row[inputs["input_ids"].shape[1] :].tolist() for row in output]


def expected(
    model: LoadedModel, rows: Sequence[Sequence[int]], interventions: Sequence[Intervention]
) -> list[list[int]]:
    end = model.model.generation_config.eos_token_id
    network = model.model
    found = []
    for number, ids in enumerate(rows):
        uses = [used(one, number) for one in interventions]
        so_far = list(ids)
        for _ in range(N_NEW):
            logits = oracle.logits_under(network, so_far, len(ids), uses)[-1]
            logits[end] = -torch.inf  # as min_new_tokens has it
            so_far.append(int(logits.argmax()))
        found.append(so_far[len(ids) :])
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_batch_with_a_strength_for_each_row_and_a_second_vector(
    tiny: Tiny, arch: str, rule: str
) -> None:
    model = tiny(arch)
    rows = [tokens_of(model, text) for text in TEXTS]
    both = [
        Intervention(a_vector(model), (1.5, 0.0, -2.0), rule),
        Intervention(a_vector(model, layer=2, seed=5), 0.8, "generated"),
    ]
    unsteered = continued(model, rows)
    with steer(model, both):
        found = continued(model, rows)
    assert found == expected(model, rows, both)
    assert found != unsteered
    for number, row in enumerate(rows):  # batched equals one by one
        alone = [replace(one, strength=used(one, number).strength) for one in both]
        with steer(model, alone):
            assert continued(model, [row]) == [found[number]]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("arch", ONE_FAST)
def test_operations(tiny: Tiny, arch: str, operation: Operation) -> None:
    model = tiny(arch)
    rows = [tokens_of(model, text) for text in TEXTS]
    unsteered = continued(model, rows)
    for rule in RULES if arch == "llama" else RULES[:1]:
        one = Intervention(a_vector(model), (2.0, 0.0, -1.0), rule, operation)
        with steer(model, one):
            found = continued(model, rows)
        assert found == expected(model, rows, [one])
        assert found[1] == unsteered[1], "a row of strength 0"
    strong = Intervention(a_vector(model), 4.0, "all", operation)
    wanted = expected(model, rows, [strong])
    with steer(model, strong):
        assert continued(model, rows) == wanted != unsteered


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_plain_forward_calls_with_padding(
    tiny: Tiny, side: str, rule: str, operation: Operation
) -> None:
    model = tiny("llama")
    rows = [tokens_of(model, text) for text in TEXTS]
    inputs = padded(model, rows, side)
    if side == "left":  # transformers numbers positions from the padding on unless told
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    one = Intervention(a_vector(model), (1.5, 0.0, -2.0), rule, operation)
    with torch.no_grad(), steer(model, one):
        logits = model.model(**inputs).logits
    for number, ids in enumerate(rows):
        wanted = oracle.logits_under(model.model, ids, len(ids), [used(one, number)])
        real = logits[number][inputs["attention_mask"][number].bool()]
        assert torch.allclose(real, wanted, atol=2e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("arch", ONE_FAST)
def test_without_a_cache_the_text_is_the_same(tiny: Tiny, arch: str, rule: str) -> None:
    model = tiny(arch)
    rows = [tokens_of(model, text) for text in TEXTS]
    one = Intervention(a_vector(model), 1.5, rule)
    wanted = expected(model, rows, [one])
    with steer(model, one):
        assert continued(model, rows, use_cache=False) == continued(model, rows) == wanted


@pytest.mark.parametrize("rule", RULES)
def test_a_cache_of_ones_own(tiny: Tiny, rule: str) -> None:
    """Forward calls that are made by hand: the prompt, then a token at a time."""
    model, ids = tiny("qwen2"), tokens_of(tiny("qwen2"), TEXTS[0])
    one = Intervention(a_vector(model), 1.5, rule)
    so_far, step, cache = list(ids), torch.tensor([ids]), None
    with torch.no_grad(), steer(model, one):
        for _ in range(N_NEW):
            output = model.model(input_ids=step, past_key_values=cache, use_cache=True)
            cache, step = output.past_key_values, output.logits[:, -1:].argmax(-1)
            so_far.append(int(step))
    assert so_far[len(ids) :] == oracle.continuation(model.model, ids, [used(one)], N_NEW)


def test_several_tokens_after_a_cache_are_refused_unless_all_are_steered(tiny: Tiny) -> None:
    model, ids = tiny("llama"), torch.tensor([tokens_of(tiny("llama"), TEXTS[0])])
    vector = a_vector(model)

    def twice() -> torch.Tensor:
        with torch.no_grad():
            cache = model.model(input_ids=ids[:, :5], use_cache=True).past_key_values
            output = model.model(input_ids=ids[:, 5:], past_key_values=cache)
        return torch.Tensor(output.logits[0, -1])

    with pytest.raises(UserError, match="Use model.generate, or positions all"), vector.on(model):
        twice()
    with vector.on(model, positions="all"):
        found = twice()
    use = used(Intervention(vector, None, "all"))
    wanted = oracle.logits_under(model.model, ids[0].tolist(), ids.shape[1], [use])[-1]
    assert torch.allclose(found, wanted, atol=2e-4)


def test_a_cache_from_outside_the_context(tiny: Tiny) -> None:
    model, ids = tiny("llama"), torch.tensor([tokens_of(tiny("llama"), TEXTS[0])])
    vector = a_vector(model)

    def last(rule: str) -> torch.Tensor:
        with torch.no_grad():
            cache = model.model(input_ids=ids[:, :-1], use_cache=True).past_key_values
            with vector.on(model, positions=rule):
                output = model.model(input_ids=ids[:, -1:], past_key_values=cache)
        return torch.Tensor(output.logits[0, -1])

    use = used(Intervention(vector))
    wanted = oracle.logits_under(model.model, ids[0].tolist(), ids.shape[1], [use])[-1]
    assert torch.allclose(last("generated"), wanted, atol=2e-4)
    with pytest.raises(UserError, match="filled outside the context"):
        last("first:2")


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 2, "temperature": 0.7},
    ],
    ids=lambda options: "-".join(options),
)
def test_beams_and_samples_have_the_strength_of_their_prompt(
    tiny: Tiny, options: dict[str, Any]
) -> None:
    """Without a cache every step re-runs the whole sequence, with other rows for its beams."""
    model = tiny("llama")
    rows = [tokens_of(model, TEXTS[0])] * 2  # no padding, which would round otherwise
    vector = a_vector(model)

    def run(strengths: tuple[float, ...], **more: Any) -> list[list[int]]:
        torch.manual_seed(0)
        with vector.on(model, strengths):
            return continued(model, rows, **options, **more)

    found = run((1.5, -1.5))
    assert found == run((1.5, -1.5), use_cache=False)
    half = len(found) // 2
    assert found[:half] != found[half:]
    if "do_sample" not in options:  # the draws of a row depend on those of the rows before it
        for part, strength in ((found[:half], 1.5), (found[half:], -1.5)):
            with vector.on(model, strength):
                assert continued(model, rows[:1], **options) == part


def test_a_pipeline_and_a_stream(tiny: Tiny) -> None:
    model = tiny("llama")
    vector, ids = a_vector(model), tokens_of(tiny("llama"), TEXTS[0])
    with vector.on(model):
        text = model.tokenizer.decode(continued(model, [ids])[0], skip_special_tokens=True)
    settings = {"max_new_tokens": N_NEW, "min_new_tokens": N_NEW, "do_sample": False}
    runner = pipeline("text-generation", model=model.model, tokenizer=model.tokenizer)
    with vector.on(model.model):  # transformers' model, without its tokenizer and fingerprint
        [answer] = runner(TEXTS[0], return_full_text=False, **settings)
    assert answer["generated_text"] == text
    streamer = TextIteratorStreamer(model.tokenizer, skip_prompt=True, skip_special_tokens=True)
    with vector.on(model):
        options = {"input_ids": torch.tensor([ids]), "streamer": streamer, **settings}
        thread = Thread(target=model.model.generate, kwargs=options)
        thread.start()
        assert "".join(streamer) == text
        thread.join()


def hooks_of(network: Any) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks)  # noqa: SLF001
        for m in network.modules()
    )


def test_nothing_remains_after_the_context(tiny: Tiny) -> None:
    model, ids = tiny("gemma2"), torch.tensor([tokens_of(tiny("gemma2"), TEXTS[0])])
    vector, hooks = a_vector(model), hooks_of(model.model)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return torch.Tensor(model.model(input_ids=ids).logits)

    before = logits()
    with vector.on(model):
        assert not torch.equal(logits(), before)
        with vector.on(model, -1.5):  # within one another: the two cancel
            assert torch.allclose(logits(), before, atol=1e-4)
    with pytest.raises(ZeroDivisionError), vector.on(model):
        logits()
        raise ZeroDivisionError
    with pytest.raises(UserError, match="layer 9"), replace(vector, layer=9).on(model):
        raise AssertionError
    assert torch.equal(logits(), before)
    assert hooks_of(model.model) == hooks and "generate" not in vars(model.model)
    with vector.on(model, 0):
        assert torch.equal(logits(), before) and hooks_of(model.model) == hooks


def test_a_context_in_which_nothing_ran(tiny: Tiny) -> None:
    model = tiny("llama")
    with a_vector(model).on(model):
        pass
    # The decoder ran, but not the block with the vector: something is wrong with the model.
    decoder, ids = text_decoder(model.model), torch.tensor([[3, 4]])
    blocks = decoder.layers
    with pytest.raises(RuntimeError, match="never fired"), a_vector(model, layer=3).on(model):
        decoder.layers = blocks[:2]
        try:
            decoder(input_ids=ids)
        finally:
            decoder.layers = blocks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"assistant_model": "itself"}, "assistant_model: leave it out"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens: leave it out"),
        ({"assistant_early_exit": 2}, "assistant_early_exit: leave it out"),
        ({"guidance_scale": 2.0}, "guidance_scale: leave it out"),
        ({"side": "right"}, "padding_side = 'left'"),
        ({"strength": (1.0, 2.0)}, "2 strengths for 3 prompts"),
    ],
)
def test_what_generate_refuses(tiny: Tiny, options: dict[str, Any], words: str) -> None:
    model = tiny("llama")
    strength, side = options.pop("strength", 1.0), options.pop("side", "left")
    if "assistant_model" in options:
        options["assistant_model"] = model.model
    inputs = padded(model, [tokens_of(model, text) for text in TEXTS], side)
    with pytest.raises(UserError, match=words), a_vector(model).on(model, strength):
        model.model.generate(**inputs, max_new_tokens=2, **options)


def test_masks_and_rows_that_do_not_tell(tiny: Tiny) -> None:
    model, ids = tiny("llama"), torch.tensor([tokens_of(tiny("llama"), TEXTS[0])])
    vector, count = a_vector(model), ids.shape[1]
    mask = torch.ones(1, 1, count, count, dtype=torch.bool).tril()
    with pytest.raises(UserError, match="two dimensions"), vector.on(model):
        model.model(input_ids=ids, attention_mask=mask)
    with torch.no_grad(), vector.on(model, positions="all"):
        found = model.model(input_ids=ids, attention_mask=mask).logits
        assert torch.allclose(found, model.model(input_ids=ids).logits, atol=1e-5)
    two_rows = vector.on(model, (1.0, 2.0))
    with pytest.raises(UserError, match="2 strengths for a batch of 3"), two_rows:
        model.model(input_ids=ids.repeat(3, 1))
    two = [Intervention(vector, (1.0, 2.0)), Intervention(vector, (1.0, 2.0, 3.0))]
    with pytest.raises(UserError, match="2 and 3 rows"), steer(model, two):
        raise AssertionError


def test_vectors_and_models_that_do_not_belong_together(tiny: Tiny) -> None:
    llama, qwen = tiny("llama"), tiny("qwen2")
    vector = a_vector(llama)
    with vector.on(qwen):  # the same width, and nothing is known about the architecture
        pass
    known = replace(vector, architecture=llama.architecture)
    with pytest.raises(UserError, match="is a qwen2, the vector's model a llama"), known.on(qwen):
        raise AssertionError
    short = replace(vector, direction=np.ones(4, np.float32), fingerprint="")
    with pytest.raises(UserError, match="48 dimensions, the vector 4"), short.on(qwen):
        raise AssertionError
    with pytest.raises(UserError, match="of two models"):
        Composition((Intervention(vector), Intervention(a_vector(qwen))))
    with pytest.raises(UserError, match="at least one"):
        Composition(())


@pytest.mark.parametrize("rule", ["", "last", "first:0", "first:-1", "first:2.5", "ALL"])
def test_unknown_positions(tiny: Tiny, rule: str) -> None:
    with pytest.raises(UserError, match="give generated, all, prompt, or first:N"):
        Intervention(a_vector(tiny("llama")), 1.0, rule)


def test_unknown_operations_and_strengths(tiny: Tiny) -> None:
    vector = a_vector(tiny("llama"))
    with pytest.raises(UserError, match="operation 'scale': give add"):
        Intervention(vector, operation="scale")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="strength nan"):
        Intervention(vector, (1.0, float("nan")))
    assert Intervention(vector).strengths == (1.5,)
    assert Intervention(vector, operation="ablate").strengths == (1.0,)


def test_smollm(smollm: LoadedModel) -> None:
    """The same on a trained model, whose scores lie closer together than random ones."""
    directions = torch.randn(2, 576, generator=torch.Generator().manual_seed(1))
    vectors = [
        SteeringVector(
            d.numpy(), layer, "residual", 0.4, "caa", smollm.spec, smollm.fingerprint, ""
        )
        for d, layer in zip(directions, (12, 20), strict=True)
    ]
    rows = [tokens_of(smollm, text) for text in ("The capital of France is", "My dog", "How was")]
    for rule in RULES:
        both = [Intervention(vectors[0], (0.4, 0.0, -0.8), rule), Intervention(vectors[1], 0.5)]
        wanted = expected(smollm, rows, both)
        with steer(smollm, both):
            assert continued(smollm, rows) == wanted
