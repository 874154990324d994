"""Generation with a vector, against a loop without a cache."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pas.data.chat import Message, prompt_style
from pas.data.prompts import encode
from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.sites import Site
from pas.models.spec import Dtype, ModelSpec
from pas.steering.generate import generate, generate_all
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.chat_templates import TEMPLATE_OF
from tests.helpers.pretended_devices import spread
from tests.helpers.tiny_models import (
    ARCHITECTURES,
    D_MODEL,
    N_BLOCKS,
    WRAPPERS,
    save_tiny,
    toy_questions,
)

Tiny = Callable[..., LoadedModel]
PROMPT = toy_questions(1)[0]["question"]


def a_vector(model: LoadedModel, layer: int, strength: float, site: Site) -> SteeringVector:
    delta = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0)) * 0.7
    return SteeringVector(
        delta.numpy(), layer, site, strength, "caa", model.spec, model.fingerprint, "toy"
    )


def literally(
    model: LoadedModel,
    prompt: str | list[int],
    vector: SteeringVector | None,
    n_new: int,
    once: bool = False,
) -> str:
    """Append the most likely token, each time after a run of the whole sequence.

    With `once`, it is the most likely one that the sequence does not have yet.
    """
    start = list(model.tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else prompt
    ids, stop = list(start), model.model.generation_config.eos_token_id
    while len(ids) < len(start) + n_new and (len(ids) == len(start) or ids[-1] != stop):
        steering = None
        if vector is not None:
            delta = vector.strength * torch.from_numpy(vector.direction)
            steering = oracle.Steering(vector.layer, delta)
        # The last prompt token and every generated one are steered, no earlier token.
        logits = oracle.logits_with(model.model, ids, steering, range(len(start) - 1, len(ids)))
        if once:
            logits[-1, ids] = -torch.inf
        ids.append(int(logits[-1].argmax()))
    return str(model.tokenizer.decode(ids[len(start) :], skip_special_tokens=True))


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_texts_and_conversations_go_through_the_template(tiny: Tiny, arch: str) -> None:
    template = TEMPLATE_OF[arch]
    model, n_new = tiny(arch, template.text), 12
    style = prompt_style(model.info, "chat", "Be brief.")
    vector = replace(a_vector(model, 1, 2.0, "residual"), prompt=style)
    said = oracle.Chat(model.tokenizer, template.fixed, "Be brief.")
    earlier = (("Who eats beetles?", "the mole"),)
    messages = [
        Message(role=role, content=text)
        for role, text in (
            ("user", earlier[0][0]), ("assistant", earlier[0][1]), ("user", "Why?")
        )
    ]  # fmt: skip
    for request, text in (
        ("Why?", oracle.chat_text(said, "Why?")),
        (messages, oracle.chat_text(said, "Why?", earlier)),
    ):
        start = oracle.token_ids_of(model.tokenizer, text)
        expected = literally(model, start, vector, n_new)
        assert generate(model, request, vector, max_new_tokens=n_new) == expected
        unsteered = literally(model, start, replace(vector, strength=0.0), n_new)
        assert generate(model, request, vector, strength=0.0, max_new_tokens=n_new) == unsteered
        assert unsteered != expected
    # A text alone is continued as it is.
    start = oracle.token_ids_of(model.tokenizer, "Why?")
    plain = literally(model, start, replace(vector, strength=0.0), n_new)
    assert generate(model, "Why?", None, max_new_tokens=n_new) == plain
    with pytest.raises(UserError, match="the prompt is empty"):
        generate(model, " ", vector)


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WRAPPERS])
def test_generation_equals_a_literal_loop_without_a_cache(tiny: Tiny, arch: str) -> None:
    model, n_new = tiny(arch), 12
    # The tiny Gemma 3 repeats one token under any gentle push.
    vector = a_vector(model, 1, 100.0 if arch == "gemma3" else 2.0, "residual")
    plain = generate(model, PROMPT, None, max_new_tokens=n_new)
    assert plain == literally(model, PROMPT, None, n_new)
    found = generate(model, PROMPT, vector, max_new_tokens=n_new)
    assert found == literally(model, PROMPT, vector, n_new) != plain
    assert generate(model, PROMPT, vector, strength=0.0, max_new_tokens=n_new) == plain
    assert generate(model, PROMPT, vector, strength=-200.0, max_new_tokens=n_new) != found


LENGTHS = [PROMPT, "It eats", "Where", f"{PROMPT} {PROMPT}", "Who sleeps in the wall by day?"]


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WRAPPERS])
def test_prompts_together_are_continued_as_each_alone(tiny: Tiny, arch: str) -> None:
    model = tiny(arch)
    vector = a_vector(model, 1, 100.0 if arch == "gemma3" else 2.0, "residual")
    for given in (vector, None):
        alone = [generate(model, prompt, given, max_new_tokens=8) for prompt in LENGTHS]
        assert generate_all(model, LENGTHS, given, max_new_tokens=8) == alone
    many = LENGTHS * 5  # more than a batch
    assert (
        generate_all(model, many, None, max_new_tokens=3)
        == [generate(model, prompt, None, max_new_tokens=3) for prompt in LENGTHS] * 5
    )
    assert generate_all(model, [], vector) == []


def test_a_text_that_ends_before_the_others(tiny: Tiny, tmp_path: Path) -> None:
    """What follows the end token of a sequence in a batch is padding, and no text."""
    free = tiny("llama")
    vector = a_vector(free, 1, 2.0, "residual")
    texts = [literally(free, prompt, vector, 8) for prompt in LENGTHS]
    tokens = [free.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    end = next(t for t in tokens[0][1:4] if any(t not in other for other in tokens[1:]))
    model = edited(tmp_path, "generation_config.json", eos_token_id=end)
    alone = [generate(model, prompt, vector, max_new_tokens=8) for prompt in LENGTHS]
    assert len({len(model.tokenizer(text)["input_ids"]) for text in alone}) > 1
    assert alone == [literally(model, prompt, vector, 8) for prompt in LENGTHS]
    assert generate_all(model, LENGTHS, vector, max_new_tokens=8) == alone


def test_decoding_that_looks_at_earlier_tokens_sees_no_padding(tiny: Tiny) -> None:
    model, options = tiny("llama"), {"max_new_tokens": 8, "decoding": {"no_repeat_ngram_size": 1}}
    vector = a_vector(model, 1, 2.0, "residual")
    alone = [generate(model, prompt, vector, **options) for prompt in LENGTHS]
    assert generate_all(model, LENGTHS, vector, **options) == alone


def test_what_cannot_be_continued_is_told(tiny: Tiny) -> None:
    model = tiny("llama")
    vector = a_vector(model, 1, 2.0, "residual")
    for strength in (math.nan, math.inf):
        with pytest.raises(UserError, match=f"strength {strength}: give a finite number"):
            generate(model, PROMPT, vector, strength=strength)
    with pytest.raises(UserError, match="max_new_tokens 0: give 1 or more"):
        generate(model, PROMPT, vector, max_new_tokens=0)
    with pytest.raises(UserError, match="the prompt is empty"):
        generate_all(model, [PROMPT, " "], vector)


def edited(tmp_path: Path, name: str, **values: Any) -> LoadedModel:
    """A tiny Llama with other values in one of its JSON files."""
    folder = save_tiny("llama", tmp_path / "model")
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return load_model(ModelSpec(str(folder), device="cpu"), tmp_path / "cache")


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 5.0},
        {"no_repeat_ngram_size": 1},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "temperature": 5.0, "top_p": 0.9},
        {"prompt_lookup_num_tokens": 3},
        {"forced_eos_token_id": 1},
        {"suppress_tokens": list(range(3, 200))},
        {"guidance_scale": 3.0},
        {"max_time": 0.0},
        {"stop_strings": ["e"]},
        {"output_scores": True, "return_dict_in_generate": True},
        {"use_cache": False},
        {"cache_implementation": "static"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_the_checkpoints_own_decoding_is_off(settings: dict[str, Any], tmp_path: Path) -> None:
    model = edited(tmp_path, "generation_config.json", **settings)
    own = model.model.generation_config.to_dict()
    vector = a_vector(model, 1, 2.0, "residual")
    assert generate(model, PROMPT, vector, max_new_tokens=8) == literally(model, PROMPT, vector, 8)
    assert generate(model, PROMPT, None, max_new_tokens=8) == literally(model, PROMPT, None, 8)
    assert model.model.generation_config.to_dict() == own


def test_a_configuration_without_a_cache_gives_the_same_text(tmp_path: Path) -> None:
    model = edited(tmp_path, "config.json", use_cache=False)
    vector = a_vector(model, 1, 2.0, "residual")
    assert generate(model, PROMPT, vector, max_new_tokens=8) == literally(model, PROMPT, vector, 8)


def test_token_type_ids_are_not_passed_on(tmp_path: Path) -> None:
    """Tokenizers may return them, and models that do not know them refuse them."""
    names = ["input_ids", "token_type_ids", "attention_mask"]
    model = edited(tmp_path, "tokenizer_config.json", model_input_names=names)
    assert "token_type_ids" in model.tokenizer(PROMPT)
    assert generate(model, PROMPT, None, max_new_tokens=8) == literally(model, PROMPT, None, 8)


def test_decoding_that_is_asked_for(tiny: Tiny) -> None:
    model = tiny("llama")
    vector = a_vector(model, 1, 2.0, "residual")
    once = {"no_repeat_ngram_size": 1}
    found = generate(model, PROMPT, vector, max_new_tokens=16, decoding=once)
    assert found == literally(model, PROMPT, vector, 16, once=True)
    assert found != generate(model, PROMPT, vector, max_new_tokens=16)
    for name in ("use_cache", "prompt_lookup_num_tokens"):
        with pytest.raises(UserError, match=f"leave out {name}"):
            generate(model, PROMPT, vector, decoding={name: 3})


@pytest.mark.parametrize(
    ("dtype", "strength", "reason"),
    [
        ("float16", 1e6, r"not finite at strength 1e\+06: the model overflows in float16"),
        # Without an error it would give text: finite scores of a model whose norms gave 0.
        ("float32", 1e38, r"strength 1e\+38: the vector overflows"),
        ("bfloat16", 1e39, r"strength 1e\+39: the vector overflows"),
    ],
)
def test_what_overflows_gives_an_error_and_no_text(
    tiny: Tiny, dtype: Dtype, strength: float, reason: str
) -> None:
    model = load_model(replace(tiny("llama").spec, dtype=dtype))
    vector = a_vector(model, 1, 1.0, "residual")
    assert generate(model, PROMPT, vector, max_new_tokens=3)
    with pytest.raises(UserError, match=reason):
        generate(model, PROMPT, vector, strength=strength, max_new_tokens=3)


def test_text_ends_where_the_window_is_full(tiny: Tiny) -> None:
    model = tiny("gpt2")  # whose positions are a table: beyond it there are none
    prompt = "heron " * 200
    length = len(encode(model.info, prompt).token_ids)
    short = replace(model, info=replace(model.info, context_window=length + 2))
    assert generate(short, prompt, None, max_new_tokens=9) == generate(
        model, prompt, None, max_new_tokens=2
    )
    full = replace(model, info=replace(model.info, context_window=length))
    with pytest.raises(UserError, match="fills the model's context window"):
        generate(full, prompt, None)


def test_blocks_may_be_on_several_devices(tiny: Tiny, tmp_path: Path) -> None:
    one, two = tiny("llama"), load_model(tiny("llama").spec, tmp_path)
    vector = a_vector(one, N_BLOCKS - 1, 2.0, "residual")
    with spread(two.model):
        found = generate(two, PROMPT, vector, max_new_tokens=5)
    assert found == generate(one, PROMPT, vector, max_new_tokens=5)
