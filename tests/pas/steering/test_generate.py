"""Generation with a vector, against a loop without a cache."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pas.data.chat import Message, prompt_style
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.sites import Site
from pas.steering.generate import generate
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.chat_templates import TEMPLATE_OF
from tests.helpers.tiny_models import ARCHITECTURES, D_MODEL, toy_questions

Tiny = Callable[..., LoadedModel]


def a_vector(model: LoadedModel, layer: int, strength: float, site: Site) -> SteeringVector:
    delta = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0)) * 0.7
    return SteeringVector(
        delta.numpy(), layer, site, strength, "caa", model.spec, model.fingerprint, "toy"
    )


def literal(model: LoadedModel, vector: SteeringVector, start: list[int], n_new: int) -> str:
    """The last prompt token and every generated one are steered, no earlier token."""
    layer, strength = vector.layer, vector.strength
    ids, stop = list(start), model.model.generation_config.eos_token_id
    while len(ids) < len(start) + n_new and (len(ids) == len(start) or ids[-1] != stop):
        steered = range(len(start) - 1, len(ids))
        delta = strength * torch.from_numpy(vector.direction)
        logits = oracle.logits_with(model.model, ids, oracle.Steering(layer, delta), steered)
        ids.append(int(logits[-1].argmax()))
    return str(model.tokenizer.decode(ids[len(start) :], skip_special_tokens=True))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_generation_equals_a_literal_loop_without_a_cache(tiny: Tiny, arch: str) -> None:
    model, n_new = tiny(arch), 12
    vector = a_vector(model, 1, 2.0, "residual")
    prompt = toy_questions(1)[0]["question"]
    expected = literal(model, vector, list(model.tokenizer(prompt)["input_ids"]), n_new)
    assert generate(model, prompt, vector, max_new_tokens=n_new) == expected
    plain = generate(model, prompt, None, max_new_tokens=n_new)
    assert expected != plain
    assert generate(model, prompt, vector, strength=0.0, max_new_tokens=n_new) == plain
    assert generate(model, prompt, vector, strength=-4.0, max_new_tokens=n_new) != expected


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
        expected = literal(model, vector, start, n_new)
        assert generate(model, request, vector, max_new_tokens=n_new) == expected
        unsteered = literal(model, replace(vector, strength=0.0), start, n_new)
        assert generate(model, request, vector, strength=0.0, max_new_tokens=n_new) == unsteered
        assert unsteered != expected
    # A text alone is continued as it is.
    start = oracle.token_ids_of(model.tokenizer, "Why?")
    plain = literal(model, replace(vector, strength=0.0), start, n_new)
    assert generate(model, "Why?", None, max_new_tokens=n_new) == plain
    with pytest.raises(UserError, match="the prompt is empty"):
        generate(model, " ", vector)
