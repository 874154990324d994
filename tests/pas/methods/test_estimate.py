"""The estimator in memory against the oracle's mean differences, and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pas.data.examples import Example
from pas.data.splits import Protocol, order_choices
from pas.engine.extract import Activations
from pas.engine.scoring import rule_of
from pas.errors import UserError
from pas.methods.contrast import METHODS, RANDOM, ContrastSet
from pas.methods.estimate import contrast_weights, estimate_directions, with_random
from pas.methods.extraction import answer_and_extract, estimate
from pas.methods.grid import Configuration
from pas.models.loading import LoadedModel
from tests.helpers import oracle
from tests.helpers.tiny_models import toy_questions

KEYS = tuple(bytes([i]) * 16 for i in range(4))
TEXTS = dict(zip("pqrs", KEYS, strict=True))


def activations(values: Any, layers: tuple[int, ...] = (3,)) -> Activations:
    tensor = torch.tensor(values, dtype=torch.float32)
    return Activations(KEYS[: len(tensor)], (1,) * len(tensor), layers, tensor)


@pytest.mark.parametrize("protocol", ["sound", "paper"])
@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_answers_and_directions_are_the_oracles(
    tiny: Callable[[str], LoadedModel], protocol: Protocol, scoring: str
) -> None:
    model = tiny("llama")
    raw = [Example(**row, group=row["id"]) for row in toy_questions(20, seed=5)]
    shown = [order_choices(e, 7, protocol) for e in raw]
    items = [
        oracle.Item(e.id, e.question, e.choices, e.label, s.positions, e.fact)
        for e, s in zip(raw, shown, strict=True)
    ]
    rule = rule_of(scoring, protocol, True)
    asked = oracle.Scoring(rule.kind, "bare" if protocol == "paper" else "both", length_norm=True)
    layers = (1, 2)
    read = answer_and_extract(model, shown, tuple(METHODS), layers, rule, protocol=protocol)
    picked = [answer.choice for answer in read.answers]
    assert picked == oracle.predict(model.model, model.tokenizer, items, asked)
    directions = estimate(read)
    expected = oracle.build_vectors(
        model.model, model.tokenizer, items, tuple(METHODS), layers, asked, protocol
    )
    assert directions.direction.keys() == expected.keys() and len(expected) == 8
    for key, vector in expected.items():
        found = directions.direction[key]
        assert found.dtype == np.float32
        assert np.linalg.norm(found - vector.numpy()) <= 1e-5 * vector.norm(), key
        assert directions.norm[key] == pytest.approx(float(vector.norm()), rel=1e-5)


def test_by_hand() -> None:
    # q is a positive of two items and a negative of one; 1e8 + 1 - 1e8 is lost in float32.
    sets = {"m": ContrastSet(["p", "q", "q", "r"], ["q", "s"])}
    weights = contrast_weights(sets, TEXTS)
    assert weights == {("m", KEYS[0]): 0.25, ("m", KEYS[1]): 0.0,
                       ("m", KEYS[2]): 0.25, ("m", KEYS[3]): -0.5}  # fmt: skip
    given = activations([[[4e8]], [[7.0]], [[4.0]], [[2e8]]])
    found = estimate_directions(weights, given, (5,))
    assert found.direction["m", 5].tolist() == [1.0] and found.norm == {("m", 5): 1.0}
    assert found.delta(Configuration("m", 5, -2.0)).tolist() == [-2.0]
    assert found.delta(Configuration("m", 5, -2.0)).dtype == np.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    given = activations([[[1.0], [1.0]], [[1.0], [value]]], layers=(3, 4))
    weights = {("m", KEYS[0]): 1.0, ("m", KEYS[1]): -1.0}
    with pytest.raises(ValueError, match=f"prompt {KEYS[1].hex()} at layer 4 is not finite"):
        estimate_directions(weights, given, (3, 4))
    # One that no method uses does no harm.
    assert estimate_directions({("m", KEYS[0]): 1.0}, given, (3, 4)).norm["m", 4] == 1.0


def test_what_is_lacking_is_refused(tiny: Callable[[str], LoadedModel]) -> None:
    with pytest.raises(LookupError, match="1 of 1 weighted prompts have no activation"):
        estimate_directions({("m", KEYS[3]): 1.0}, activations([[[1.0]]]), (3,))
    with pytest.raises(ValueError, match="2 layers to write for 1 layers read"):
        estimate_directions({("m", KEYS[0]): 1.0}, activations([[[1.0]]]), (3, 4))
    items = [Example(**row, group=row["id"]) for row in toy_questions(3)]
    with pytest.raises(UserError, match="'lda' is not one of pasf"):
        answer_and_extract(tiny("llama"), items, ("lda",))


def test_the_random_control_has_the_mean_norm_and_follows_the_seed() -> None:
    weights = {("a", KEYS[0]): 1.0, ("b", KEYS[1]): 1.0}
    given = activations([[[3.0, 0.0]], [[0.0, 5.0]]])
    plain = estimate_directions(weights, given, (2,))
    found = with_random(plain, 0)
    assert {*found.direction} - {*plain.direction} == {(RANDOM, 2)}
    assert found.norm[RANDOM, 2] == 4.0
    assert np.linalg.norm(found.direction[RANDOM, 2]) == pytest.approx(4.0)
    assert not np.allclose(found.direction[RANDOM, 2], with_random(plain, 1).direction[RANDOM, 2])
