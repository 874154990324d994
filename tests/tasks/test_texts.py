"""Texts with and without a vector, made once."""

from pathlib import Path

import numpy as np
import pytest

from pas.models.loading import LoadedModel
from pas.models.spec import ModelSpec
from pas.steering.generate import generate
from pas.steering.vector import SteeringVector
from tasks import resources
from tasks.texts import sample_texts
from tests.helpers.tiny_models import D_MODEL

PROMPTS = ["Where does the heron sleep?", "It eats"]


@pytest.fixture
def vector(tiny_folder: Path, home: Path) -> SteeringVector:
    del home
    spec = ModelSpec(str(tiny_folder), device="cpu")
    return SteeringVector(
        direction=np.random.default_rng(0).normal(size=D_MODEL).astype(np.float32),
        layer=1,
        site="residual",
        strength=4.0,
        method="caa",
        model=spec,
        fingerprint=resources.model_info(spec).fingerprint,
        task="toy",
    )


def first_line(model: LoadedModel, vector: SteeringVector, prompt: str, strength: float) -> str:
    text = generate(model, prompt, vector, strength=strength, max_new_tokens=8)
    return (text.strip().splitlines() or [""])[0]


def test_texts_are_those_of_the_vector_and_are_made_once(
    vector: SteeringVector, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resources.model(vector.model)
    texts = sample_texts(vector, PROMPTS, 8)
    assert [text["prompt"] for text in texts] == PROMPTS
    for text in texts:
        for kind, strength in (("unsteered", 0.0), ("steered", 4.0), ("opposite", -4.0)):
            assert text[kind] == first_line(model, vector, text["prompt"], strength)
    assert texts[0]["steered"] != texts[0]["unsteered"]

    def gone(spec: ModelSpec) -> LoadedModel:
        raise AssertionError(f"{spec.id} was loaded again")

    monkeypatch.setattr(resources, "model", gone)
    assert sample_texts(vector, PROMPTS, 8) == texts
    with pytest.raises(AssertionError, match="loaded again"):
        sample_texts(vector, PROMPTS[:1], 8)
