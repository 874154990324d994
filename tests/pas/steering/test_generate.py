"""Generation with a vector, against a loop without a cache."""

from collections.abc import Callable

import pytest
import torch

from pas.models.loading import LoadedModel
from pas.models.sites import Site
from pas.steering.generate import generate
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.tiny_models import ARCHITECTURES, D_MODEL, toy_questions

Tiny = Callable[[str], LoadedModel]


def a_vector(model: LoadedModel, layer: int, strength: float, site: Site) -> SteeringVector:
    delta = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0)) * 0.7
    return SteeringVector(
        delta.numpy(), layer, site, strength, "caa", model.spec, model.fingerprint, "toy"
    )


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_generation_equals_a_literal_loop_without_a_cache(tiny: Tiny, arch: str) -> None:
    """The last prompt token and every generated one are steered, no earlier token."""
    model, layer, strength, n_new = tiny(arch), 1, 2.0, 12
    vector = a_vector(model, layer, strength, "residual")
    prompt = toy_questions(1)[0]["question"]
    start = list(model.tokenizer(prompt)["input_ids"])
    ids, stop = list(start), model.model.generation_config.eos_token_id
    while len(ids) < len(start) + n_new and (len(ids) == len(start) or ids[-1] != stop):
        steered = range(len(start) - 1, len(ids))
        delta = strength * torch.from_numpy(vector.direction)
        logits = oracle.logits_with(model.model, ids, oracle.Steering(layer, delta), steered)
        ids.append(int(logits[-1].argmax()))
    expected = model.tokenizer.decode(ids[len(start) :], skip_special_tokens=True)
    assert generate(model, prompt, vector, max_new_tokens=n_new) == expected
    plain = generate(model, prompt, None, max_new_tokens=n_new)
    assert expected != plain
    assert generate(model, prompt, vector, strength=0.0, max_new_tokens=n_new) == plain
    assert generate(model, prompt, vector, strength=-4.0, max_new_tokens=n_new) != expected
