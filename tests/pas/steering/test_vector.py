"""A steering vector on disk: exact round trip, and refusal of anything else."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pas.data.chat import PromptStyle
from pas.errors import UserError
from pas.models.spec import ModelSpec
from pas.steering.generate import generate
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


def flip(name: str, at: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 1
        (folder / name).write_bytes(content)

    return damage


def text(content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / STEERING_FILE).write_text(content)


def before_there_were_checksums(folder: Path) -> None:
    path = folder / STEERING_FILE
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in kept.items() if k not in ("schema", "sha256")}))


MODEL = {"id": "org/model"}
# What is done to a vector's folder, and what the message names.
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / WEIGHTS_FILE).unlink(), "vector.safetensors: No such file"),
    "no facts": (lambda f: (f / STEERING_FILE).unlink(), "steering.json: No such file"),
    "cut weights": (
        lambda f: (f / WEIGHTS_FILE).write_bytes((f / WEIGHTS_FILE).read_bytes()[:-9]),
        "vector.safetensors: its checksum",
    ),
    "one bit of the weights": (flip(WEIGHTS_FILE, -1), "vector.safetensors: its checksum"),
    "another vector": (weights(direction=np.ones(48, np.float32)), "checksum is not the one in"),
    "cut facts": (text("{"), "steering.json: it is no JSON"),
    "no facts at all": (text(""), "steering.json: it is no JSON"),
    "facts of another kind": (text('"x"'), "steering.json: it is no JSON object"),
    "deep facts": (text("[" * 100_000), "steering.json: it is no JSON"),
    "binary facts": (
        lambda f: (f / STEERING_FILE).write_bytes(b"\xff\xfe\x00"),
        "steering.json: it is no JSON",
    ),
    "no layer": (without("layer"), "field layer is missing"),
    "no model": (without("model"), "field model is missing"),
    "no strength": (without("strength"), "field strength is missing"),
    "unknown fact": (rewrite(colour="red"), "field colour is unknown"),
    "a newer schema": (rewrite(schema=3, colour="red"), "schema 3 is of a newer release.*update"),
    "no schema": (rewrite(schema="new"), 'field schema is "new", not a whole number'),
    "layer as text": (rewrite(layer="1"), 'field layer is "1", not a whole number'),
    "layer as a fraction": (rewrite(layer=1.5), "field layer is 1.5, not a whole number"),
    "layer as yes": (rewrite(layer=True), "field layer is true, not a whole number"),
    "layer below 0": (rewrite(layer=-1), "field layer is -1, not a whole number"),
    "unknown site": (rewrite(site="head"), 'field site is "head", not one of residual'),
    "site as a list": (rewrite(site=["residual"]), "field site is"),
    "strength as text": (rewrite(strength="2"), 'field strength is "2", not a finite number'),
    "strength nan": (rewrite(strength=float("nan")), "field strength is NaN, not a finite number"),
    "strength infinite": (rewrite(strength=float("-inf")), "field strength is -Infinity, not a"),
    "strength too large": (rewrite(strength=10**400), "field strength is 1000.*, not a finite"),
    "strength as yes": (rewrite(strength=True), "field strength is true, not a finite number"),
    "strength null": (rewrite(strength=None), "field strength is null, not a finite number"),
    "method as a number": (rewrite(method=3), "field method is 3, not text"),
    "provenance as a list": (rewrite(provenance=[]), r"field provenance is \[\], not an object"),
    "model as text": (rewrite(model="org/model"), "field model is .*, not an object"),
    "model without id": (rewrite(model={}), "field model.id is missing"),
    "model's id as a number": (rewrite(model={"id": 3}), "field model.id is 3, not text"),
    "unknown dtype": (rewrite(model=MODEL | {"dtype": "int3"}), "field model.dtype is"),
    "dtype as a list": (rewrite(model=MODEL | {"dtype": []}), "field model.dtype is"),
    "unknown in model": (rewrite(model=MODEL | {"eval": "1"}), "field model.eval is unknown"),
    "unknown prompt": (rewrite(prompt={"kind": "poem"}), 'field prompt.kind is "poem"'),
    "prompt as null": (rewrite(prompt=None), "field prompt is null, not an object"),
    "system as a list": (rewrite(prompt={"system": []}), "field prompt.system is"),
}
# The same without a checksum, as before there was one.
OLDER_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut weights": (DAMAGE["cut weights"][0], "vector.safetensors: it is damaged"),
    "no weights at all": (lambda f: (f / WEIGHTS_FILE).write_bytes(b""), "it is damaged"),
    "a header that is too long": (
        lambda f: (f / WEIGHTS_FILE).write_bytes(b"\xff" * 80), "it is damaged"
    ),
    "other tensor": (weights(other=np.zeros(3, np.float32)), "it holds other in place of"),
    "two tensors": (
        weights(direction=np.zeros(3, np.float32), other=np.zeros(3, np.float32)), "in place of one"
    ),
    "no tensor": (weights(), "it holds nothing in place of"),
    "a matrix": (weights(direction=np.zeros((2, 3), np.float32)), r"float32 \[2, 3\], not float32"),
    "of length 0": (weights(direction=np.zeros(0, np.float32)), r"float32 \[0\], not float32"),
    "doubles": (weights(direction=np.zeros(3)), r"float64 \[3\], not float32"),
    "not a number": (weights(direction=np.array([1, np.nan], np.float32)), "not finite"),
    "infinite": (weights(direction=np.array([1, -np.inf], np.float32)), "not finite"),
}  # fmt: skip


def check_refused(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=f"vec: not a steering vector; .*{message}.*train"):
        SteeringVector.load(folder)


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_vector_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    VECTOR.save(tmp_path / "vec")
    check_refused(tmp_path / "vec", damage, message)


@pytest.mark.parametrize(("damage", "message"), OLDER_DAMAGE.values(), ids=OLDER_DAMAGE.keys())
def test_a_damaged_vector_without_a_checksum_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    VECTOR.save(tmp_path / "vec")
    before_there_were_checksums(tmp_path / "vec")
    assert SteeringVector.load(tmp_path / "vec").digest == VECTOR.digest
    check_refused(tmp_path / "vec", damage, message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PLACES = [(name,) for name in (*VECTOR.__dataclass_fields__, "schema", "sha256", "new")]
PLACES += [("model", name) for name in (*ModelSpec.__dataclass_fields__, "new")]
PLACES += [("prompt", name) for name in (*PromptStyle.__dataclass_fields__, "new")]


@given(changes=st.dictionaries(st.sampled_from(PLACES), JSON, min_size=1, max_size=3))
def test_any_facts_make_a_vector_or_a_users_mistake(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[tuple[str, ...], Any]
) -> None:
    folder = tmp_path_factory.mktemp("vec")
    replace(VECTOR, prompt=PromptStyle("chat", "Be brief.")).save(folder)
    facts = json.loads((folder / STEERING_FILE).read_text())
    for place, value in changes.items():
        inner = facts[place[0]] if len(place) == 2 else facts
        if isinstance(inner, dict):
            inner[place[-1]] = value
    (folder / STEERING_FILE).write_text(json.dumps(facts))
    loads_or_refuses(folder)


@given(st.binary(max_size=200), st.sampled_from([STEERING_FILE, WEIGHTS_FILE]), st.data())
def test_any_bytes_make_a_vector_or_a_users_mistake(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("vec")
    VECTOR.save(folder)
    before_there_were_checksums(folder)
    whole = (folder / name).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    (folder / name).write_bytes(whole[:start] + content + whole[end:])
    loads_or_refuses(folder)


def loads_or_refuses(folder: Path) -> None:
    try:
        found = SteeringVector.load(folder)
    except UserError as error:
        assert STEERING_FILE in str(error) or WEIGHTS_FILE in str(error)
        return
    assert math.isfinite(found.strength) and found.layer >= 0
    assert found.direction.dtype == np.float32 and np.isfinite(found.direction).all()
    assert not found.model.trust_remote_code


def test_a_vector_of_another_width_is_not_applied(tiny: Callable[..., Any]) -> None:
    for width in (1, 3):
        wrong = replace(VECTOR, direction=np.ones(width, np.float32), layer=1, site="residual")
        with pytest.raises(UserError, match=f"dimensions, the vector {width}: use the model"):
            generate(tiny("llama"), "Where?", wrong, max_new_tokens=2)
