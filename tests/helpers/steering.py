"""Vectors, texts and requests that tests of steering share."""

import torch

from pas.decoding.request import GREEDY, Request, Sampling
from pas.models.loading import LoadedModel
from pas.steering.intervention import Intervention
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.tiny_models import D_MODEL, toy_questions

TEXTS = [toy_questions(1)[0]["question"], "It eats", "Where does the mole sleep?"]
_PROMPTS = [
    *TEXTS,
    "A heron and a badger sat on the roof near the barn, and it had rained for three days.",
    "Is it A or A?",
]


def a_vector(model: LoadedModel, layer: int = 1, seed: int = 0) -> SteeringVector:
    direction = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(seed))
    return SteeringVector(
        direction.numpy(), layer, "residual", 1.5, "caa", model.spec, model.fingerprint, "toy"
    )


def tokens_of(model: LoadedModel, text: str) -> list[int]:
    return list(model.tokenizer(text)["input_ids"])


def used(one: Intervention, row: int = 0) -> oracle.Use:
    """What an intervention does to a row of a batch, for the oracle."""
    vector = one.vector
    strength = one.strengths[row if len(one.strengths) > 1 else 0]
    direction = torch.from_numpy(vector.direction)
    return oracle.Use(vector.layer, direction, strength, one.positions, one.operation)


def requests(model: LoadedModel, n_new: int, sampling: Sampling = GREEDY) -> list[Request]:
    """Five requests of different lengths, each with interventions of its own."""
    one, other = a_vector(model, 1, 0), a_vector(model, 2, 5)
    steering = [
        (Intervention(one), Intervention(other, -1.0)),
        (),
        (Intervention(one, 2.0, "first:3"),),
        (Intervention(other, 1.0, "prompt"), Intervention(one, 1.0, "all", "ablate")),
        (Intervention(other, 3.0, "generated", "add-keep-norm"), Intervention(one, -2.0)),
    ]
    ids = [tuple(tokens_of(model, text)) for text in _PROMPTS]
    return [
        Request(prompt, n_new, applied, sampling)
        for prompt, applied in zip(ids, steering, strict=True)
    ]
