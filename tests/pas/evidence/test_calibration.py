"""Calibration: the curve against slow oracles, and the strongest setting within the budget."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pas.data.examples import Example
from pas.data.prompts import encode
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.asking import compare_with_asking, instructed, shown_examples
from pas.evidence.calibration import (
    CALIBRATION_FILE,
    FACTORS,
    Calibration,
    calibrate,
    read_calibration,
)
from pas.evidence.damage import neutral_texts
from pas.methods.strengths import answers_at, configuration_of
from pas.models.loading import LoadedModel
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.examples import toy_examples
from tests.helpers.tiny_models import D_MODEL

Tiny = Callable[..., LoadedModel]
TEXTS = neutral_texts()[:6]
RULE = ScoringRule("choice")


def a_vector(model: LoadedModel, size: float = 0.05, strength: float = 2.0) -> SteeringVector:
    direction = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0)) * size
    rule = {"rule": RULE.as_dict()}
    return SteeringVector(
        direction.numpy(),
        1,
        "residual",
        strength,
        "caa",
        model.spec,
        model.fingerprint,
        "toy",
        rule,
    )


def literal_divergences(model: LoadedModel, vector: SteeringVector, strength: float) -> list[float]:
    """KL at each predicted token, one text at a time: the second token is the first steered one."""
    found = []
    use = oracle.Use(1, torch.from_numpy(vector.direction), strength)
    for text in TEXTS:
        ids = encode(model.info, text).token_ids
        before, after = (
            torch.log_softmax(oracle.logits_under(model.model, ids, 2, uses), dim=-1)
            for uses in ([], [use])
        )
        for position in range(1, len(ids) - 1):
            p, q = before[position], after[position]
            found.append(float((p.exp() * (p - q)).sum()))
    return found


@pytest.fixture(scope="module")
def found(tiny: Tiny) -> Calibration:
    model = tiny("llama")
    return calibrate(model, a_vector(model), toy_examples(8), budget=0.01, texts=TEXTS)


def test_the_curve(tiny: Tiny, found: Calibration) -> None:
    model, items = tiny("llama"), toy_examples(8)
    vector = a_vector(model)
    assert [p.strength for p in found.points] == [2.0 * f for f in FACTORS]
    answers = answers_at(model, vector, items, None, [2.0, 8.0])
    for point in (found.points[0], found.points[4], found.points[-1]):
        divergences = literal_divergences(model, vector, point.strength)
        assert point.kl == pytest.approx(np.mean(divergences), rel=1e-3, abs=1e-6)
        assert point.kl_p95 == pytest.approx(np.quantile(divergences, 0.95), rel=1e-3, abs=1e-6)
        assert point.perplexity > 1 and 0 <= point.repetition <= 1
    correct = answers.correct()
    assert found.points[0].accuracy == pytest.approx(correct.mean())
    assert found.n_items == 8


def test_the_strongest_within_the_budget(tiny: Tiny, found: Calibration) -> None:
    model = tiny("llama")
    vector = a_vector(model)
    kl = np.mean(literal_divergences(model, vector, found.strength))
    assert kl == pytest.approx(found.kl, rel=1e-3) and kl <= 0.01
    gap = max(b.strength - a.strength for a, b in zip(found.points, found.points[1:], strict=False))
    beyond = found.strength + gap / 2**6
    assert np.mean(literal_divergences(model, vector, beyond)) > 0.01
    wide = calibrate(model, vector, budget=1e6, texts=TEXTS)
    assert wide.strength == 8.0 and math.isnan(wide.points[0].accuracy)
    none = calibrate(
        model, replace(vector, direction=vector.direction * 1e4), budget=1e-9, texts=TEXTS
    )
    assert none.strength < 1e-3
    away = calibrate(model, replace(vector, strength=-2.0), budget=0.01, texts=TEXTS)
    assert away.strength < 0


def test_it_is_stored_with_the_vector(tiny: Tiny, found: Calibration, tmp_path: Path) -> None:
    vector = a_vector(tiny("llama"))
    with pytest.raises(UserError, match="run pas calibrate"):
        read_calibration(tmp_path, vector)
    found.save(tmp_path)
    assert read_calibration(tmp_path, vector) == found.strength
    with pytest.raises(UserError, match="of another vector"):
        read_calibration(tmp_path, replace(vector, layer=2))
    for damaged in ("", "[]", '{"schema": 9}', '{"schema": 1, "strength": "2"}'):
        (tmp_path / CALIBRATION_FILE).write_text(damaged)
        with pytest.raises(UserError, match="no calibration"):
            read_calibration(tmp_path, vector)


def test_asking_in_words(tiny: Tiny) -> None:
    model, items = tiny("llama"), toy_examples(8)
    vector = a_vector(model, 0.5)
    shown, asked = items[:2], items[2:]

    def accuracy(told: Sequence[Example]) -> float:
        return float(answers_at(model, vector, told, RULE, []).correct().mean())

    def steered(told: Sequence[Example]) -> float:
        at = configuration_of(vector)
        return answers_at(model, vector, told, RULE, [vector.strength]).accuracy(at)

    ways = [instructed(asked, " Be brief. "), shown_examples(asked, shown, RULE)]
    assert [t.question for t in ways[0].items] == [f"Be brief.\n\n{a.question}" for a in asked]
    assert all(t.prefix.count("\n\n") == 2 for t in ways[1].items)
    found = compare_with_asking(model, vector, asked, ways)
    assert [one.how for one in found] == ["instruction: Be brief.", "2 worked examples"]
    assert [one.way for one in found] == ["instruction", "2 worked examples"]
    for one, told in zip(found, ways, strict=True):
        assert one.asked.n == one.both.n == one.steered.n == 6
        assert one.asked.baseline_accuracy == accuracy(asked)
        assert one.asked.steered_accuracy == accuracy(told.items)
        assert one.both.baseline_accuracy == one.steered.baseline_accuracy == accuracy(told.items)
        assert one.both.steered_accuracy == steered(told.items)
        assert one.steered.steered_accuracy == steered(asked)
    assert compare_with_asking(model, vector, asked, []) == []
    with pytest.raises(UserError, match="the text is empty"):
        instructed(asked, " ")


def test_what_is_refused(tiny: Tiny) -> None:
    model = tiny("llama")
    vector = a_vector(model)
    for budget in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match="budget"):
            calibrate(model, vector, budget=budget, texts=TEXTS)
    wide = replace(vector, direction=np.ones(4, np.float32), fingerprint="")
    with pytest.raises(UserError, match="dimensions"):
        calibrate(model, wide, texts=TEXTS)
