"""Compositions on disk, arithmetic on vectors, and a vector in one file."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pas.data.chat import Message, PromptStyle
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.spec import ModelSpec
from pas.steering.generate import generate, generate_all
from pas.steering.intervention import (
    COMPOSITION_FILE,
    Composition,
    Intervention,
    interventions_of,
    load_steering,
)
from pas.steering.vector import SteeringVector
from tests.helpers import oracle
from tests.helpers.steering import TEXTS, a_vector, tokens_of, used

Tiny = Callable[..., LoadedModel]


@pytest.fixture
def both(tiny: Tiny) -> Composition:
    model = tiny("llama")
    return Composition(
        (
            Intervention(a_vector(model), 1.5),
            Intervention(a_vector(model, 2, 5), 1.0, "first:3", "ablate"),
        )
    )


def test_a_composition_is_read_as_it_was_saved(
    tiny: Tiny, both: Composition, tmp_path: Path
) -> None:
    model = tiny("llama")
    both.save(tmp_path / "both")
    again = load_steering(tmp_path / "both")
    assert isinstance(again, Composition)
    for one, other in zip(both, again, strict=True):
        assert one.vector.digest == other.vector.digest
        assert (one.strength, one.positions, one.operation) == (
            other.strength, other.positions, other.operation,
        )  # fmt: skip
    ids = tokens_of(model, TEXTS[0])
    uses = [used(one) for one in both]
    expected = oracle.continuation(model.model, ids, uses, 5)
    text = model.tokenizer.decode(expected, skip_special_tokens=True)
    for steering in (both, again):
        assert generate(model, TEXTS[0], steering, max_new_tokens=5) == text
    halved = [replace(one, strength=one.strengths[0] / 2) for one in both]
    assert generate(model, TEXTS[0], again, strength=0.5, max_new_tokens=5) == generate(
        model, TEXTS[0], Composition(tuple(halved)), max_new_tokens=5
    )
    assert generate_all(model, TEXTS[:2], again, strength=[1.0, 0.0], max_new_tokens=5) == [
        text, generate(model, TEXTS[1], None, max_new_tokens=5),
    ]  # fmt: skip


DAMAGE = {
    "no file": (lambda d: (d / COMPOSITION_FILE).unlink(), "steering.json"),
    "no JSON": (lambda d: (d / COMPOSITION_FILE).write_text("{"), "not a composition"),
    "a newer schema": (lambda d: edit(d, schema=2), "schema 2"),
    "no list": (lambda d: edit(d, interventions=3), "not a composition"),
    "another vector": (lambda d: edit_row(d, vector="0" * 32), "not the one that was saved"),
    "a strength in words": (lambda d: edit_row(d, strength="2"), "strength '2'"),
    "an infinite strength": (lambda d: edit_row(d, strength=math.inf), "strength inf"),
    "unknown positions": (lambda d: edit_row(d, positions="last"), "positions 'last'"),
    "unknown operation": (lambda d: edit_row(d, operation="mul"), "operation 'mul'"),
    "a vector is gone": (
        lambda d: (d / "1" / "steering.json").unlink(),
        "1: not a steering vector",
    ),
}


def edit(folder: Path, **changes: object) -> None:
    file = folder / COMPOSITION_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_row(folder: Path, **changes: object) -> None:
    rows = json.loads((folder / COMPOSITION_FILE).read_text())["interventions"]
    edit(folder, interventions=[rows[0] | changes, *rows[1:]])


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_composition_is_refused(both: Composition, tmp_path: Path, case: str) -> None:
    both.save(tmp_path / "both")
    damage, words = DAMAGE[case]
    damage(tmp_path / "both")
    with pytest.raises(UserError, match=words):
        load_steering(tmp_path / "both")


def test_strengths_of_rows_are_not_saved(both: Composition, tmp_path: Path) -> None:
    rows = Composition((replace(both.interventions[0], strength=(1.0, 2.0)),))
    with pytest.raises(UserError, match="single rows"):
        rows.save(tmp_path / "rows")
    assert not (tmp_path / "rows").exists()


def test_prompts_of_two_styles(tiny: Tiny, both: Composition) -> None:
    from tests.helpers.chat_templates import CHATML

    model = tiny("llama", CHATML.text)
    chat = replace(both.interventions[0].vector, prompt=PromptStyle("chat", "Be brief."))
    mixed = Composition((Intervention(chat), both.interventions[1]))
    with pytest.raises(UserError, match="give a conversation"):
        generate(model, "Why?", mixed)
    messages = [Message(role="user", content="Why?")]
    assert generate(model, messages, mixed, max_new_tokens=3)


def test_arithmetic_is_on_what_vectors_add(tiny: Tiny) -> None:
    model = tiny("llama")
    one, other = a_vector(model), replace(a_vector(model, seed=5), strength=-0.5, task="other")
    a, b = (v.strength * v.direction.astype(float) for v in (one, other))
    for made, expected in (
        (one + other, a + b),
        (one - other, a - b),
        (-one, -a),
        (0.5 * one, 0.5 * a),
        (one * 2, 2 * a),
        (one + 0.5 * other, a + 0.5 * b),
    ):
        assert np.allclose(made.strength * made.direction, expected, atol=1e-6)
        assert made.norm == pytest.approx(np.linalg.norm(expected))
        assert "evaluation" not in made.provenance and made.provenance["arithmetic"]
        assert made.direction.dtype == np.float32
    assert (one + other).task == "toy + other" and (one + one).task == "toy"
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert one.cosine(other) == pytest.approx(cosine) == -one.cosine(-other)
    assert one.cosine(one) == pytest.approx(1)
    both = Composition((Intervention(one), Intervention(other)))
    assert generate(model, TEXTS[0], one + other, max_new_tokens=5) == generate(
        model, TEXTS[0], both, max_new_tokens=5
    )


def test_vectors_that_cannot_be_added(tiny: Tiny) -> None:
    vector = a_vector(tiny("llama"))
    for other, words in (
        (replace(vector, layer=2), "apply both with a Composition"),
        (replace(vector, site="mlp"), "two places"),
        (replace(vector, fingerprint="f" * 32, model=ModelSpec("b")), "of two models"),
    ):
        with pytest.raises(UserError, match=words):
            vector + other
        with pytest.raises(UserError, match=words):
            vector.cosine(other)
    with pytest.raises(UserError, match="factor nan"):
        vector * math.nan
    with pytest.raises(UserError, match="no direction to compare"):
        vector.cosine(0 * vector)
    with pytest.raises(TypeError):
        vector + 1  # type: ignore[operator]


def test_one_file_holds_a_whole_vector(tiny: Tiny, tmp_path: Path) -> None:
    vector = replace(a_vector(tiny("llama")), architecture="llama", provenance={"seed": 3})
    file = tmp_path / "vectors" / "cheerful.safetensors"
    vector.save(file)
    for read in (SteeringVector.load, load_steering):
        again = read(file)
        assert isinstance(again, SteeringVector)
        assert again.digest == vector.digest and again.architecture == "llama"
    vector.save(tmp_path / "folder")
    with pytest.raises(UserError, match="says nothing about the model"):
        SteeringVector.load(tmp_path / "folder" / "vector.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="cheerful.safetensors: not a steering vector.*checksum"):
        SteeringVector.load(file)
    file.write_bytes(content[:40])
    with pytest.raises(UserError, match="pas import takes"):
        SteeringVector.load(file)


def test_anything_becomes_a_composition(both: Composition) -> None:
    [one, _] = both
    for steering in (one.vector, one, [one], both):
        [first, *_] = interventions_of(steering)
        assert first.vector is one.vector and first.strengths == (1.5,)
