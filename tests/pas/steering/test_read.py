"""The projection of each token, against one activation at a time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.apply import steer
from pas.steering.intervention import Intervention
from tests.helpers import oracle
from tests.helpers.steering import TEXTS, a_vector
from tests.helpers.tiny_models import ARCHITECTURES

Tiny = Callable[..., LoadedModel]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_token_equals_the_activation_of_the_text_up_to_it(tiny: Tiny, arch: str) -> None:
    model = tiny(arch)
    vector = a_vector(model, layer=2)
    direction = torch.from_numpy(vector.direction)
    for text, reading in zip(TEXTS, vector.read(model, TEXTS), strict=True):
        ids = list(model.tokenizer(text)["input_ids"])
        expected = [
            float(oracle.read_activation(model.model, ids[: stop + 1], 2) @ direction)
            / float(direction @ direction)
            for stop in range(len(ids))
        ]
        assert reading.values.dtype == np.float32
        assert np.allclose(reading.values, expected, atol=1e-4)
        assert "".join(reading.tokens) == text
        assert reading.mean == pytest.approx(np.mean(expected[1:]), abs=1e-4)


def test_strength_1_at_every_position_raises_each_value_by_1(tiny: Tiny) -> None:
    model = tiny("llama")
    vector = a_vector(model)
    [before] = vector.read(model, TEXTS[:1])
    with steer(model, Intervention(vector, 1.0, "all")):
        [after] = vector.read(model, TEXTS[:1])
    assert np.allclose(after.values - before.values, 1, atol=1e-5)


def test_characters_of_several_tokens(tiny: Tiny) -> None:
    model = tiny("llama")
    [reading] = a_vector(model).read(model, ["It eats 你 😀!"])
    assert "".join(reading.tokens) == "It eats 你 😀!"
    assert not any("\ufffd" in token for token in reading.tokens)
    assert len(reading.tokens) == len(reading.values)


def test_what_is_refused(tiny: Tiny) -> None:
    model = tiny("llama")
    with pytest.raises(UserError, match="no tokens"):
        a_vector(model).read(model, [""])
    with pytest.raises(UserError, match="layer 9"):
        replace(a_vector(model), layer=9, fingerprint="").read(model, TEXTS)
