"""A steering vector on disk: exact round trip, and refusal of anything else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pas.data.chat import PromptStyle
from pas.errors import UserError
from pas.models.spec import ModelSpec
from pas.steering.vector import STEERING_FILE, WEIGHTS_FILE, SteeringVector

VECTOR = SteeringVector(
    direction=np.linspace(-3, 5, 48, dtype=np.float32) ** 3, layer=7, site="mlp_norm",
    strength=-0.1, method="caa", model=ModelSpec("org/model", revision="abc", dtype="bfloat16"),
    fingerprint="0" * 32, task="toy", provenance={"seed": 3, "items": ["a", "ü"], "none": None},
)  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "vector"
    VECTOR.save(folder)
    assert sorted(p.name for p in folder.iterdir()) == [STEERING_FILE, WEIGHTS_FILE]
    found = SteeringVector.load(folder)
    assert found.direction.dtype == np.float32
    assert np.array_equal(found.direction, VECTOR.direction)
    for name in set(VECTOR.__dataclass_fields__) - {"direction"}:
        assert getattr(found, name) == getattr(VECTOR, name), name


def test_a_prompt_is_kept_and_a_plain_one_changes_nothing(tmp_path: Path) -> None:
    chat = replace(VECTOR, prompt=PromptStyle("chat", "Be brief.", True, "0123456789abcdef"))
    for vector in (VECTOR, chat):
        vector.save(tmp_path)
        found = SteeringVector.load(tmp_path)
        assert (found.prompt, found.digest) == (vector.prompt, vector.digest)
    assert VECTOR.digest == "793aee0829aa56bb3e304e90441c9c15", "as before there were other prompts"
    assert chat.digest != VECTOR.digest and not chat.adds_the_same_as(VECTOR)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"method": "caa", "task": "other", "provenance": {}, "model": ModelSpec("moved")}, True),
        ({"direction": VECTOR.direction * np.float32(1)}, True),
        ({"direction": VECTOR.direction + np.float32(1e-3)}, False),
        ({"layer": VECTOR.layer + 1}, False),
        ({"site": "mlp"}, False),
        ({"strength": VECTOR.strength + 1}, False),
        ({"fingerprint": "e" * 32}, False),
        ({"prompt": PromptStyle("chat", "Be brief.")}, False),
    ],
)
def test_the_content_is_what_the_vector_adds(changed: dict[str, Any], same: bool) -> None:
    other = replace(VECTOR, **changed)
    assert (other.content == VECTOR.content) is other.adds_the_same_as(VECTOR) is same


def test_zeros_of_either_sign_add_the_same() -> None:
    zero = replace(VECTOR, direction=np.zeros(4, np.float32), strength=2)
    assert zero.adds_the_same_as(replace(zero, direction=-zero.direction, strength=2.0))


def test_a_view_is_saved_as_what_it_shows(tmp_path: Path) -> None:
    wide = np.arange(20, dtype=np.float64).reshape(4, 5)
    SteeringVector(wide[:, 2], 0, "residual", 1.0, "m", ModelSpec("m"), "", "t").save(tmp_path)
    assert SteeringVector.load(tmp_path).direction.tolist() == [2.0, 7.0, 12.0, 17.0]


def rewrite(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / STEERING_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def without(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / STEERING_FILE
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items()
                                    if k != name}))  # fmt: skip

    return damage


def weights(**tensors: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: save_file(tensors, folder / WEIGHTS_FILE)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no weights": lambda f: (f / WEIGHTS_FILE).unlink(),
    "no facts": lambda f: (f / STEERING_FILE).unlink(),
    "cut weights": lambda f: (f / WEIGHTS_FILE).write_bytes((f / WEIGHTS_FILE).read_bytes()[:-9]),
    "cut facts": lambda f: (f / STEERING_FILE).write_text("{"),
    "facts of another kind": lambda f: (f / STEERING_FILE).write_text('"x"'),
    "binary facts": lambda f: (f / STEERING_FILE).write_bytes(b"\xff\xfe\x00"),
    "other tensor": weights(other=np.zeros(3, np.float32)),
    "a matrix": weights(direction=np.zeros((2, 3), np.float32)),
    "not finite": weights(direction=np.array([1, np.nan], np.float32)),
    "no layer": without("layer"),
    "no model": without("model"),
    "unknown fact": rewrite(colour="red"),
    "unknown dtype": rewrite(model={"id": "m", "dtype": "int3"}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_vector_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    VECTOR.save(tmp_path / "vec")
    damage(tmp_path / "vec")
    with pytest.raises(UserError, match="vec: not a steering vector"):
        SteeringVector.load(tmp_path / "vec")
