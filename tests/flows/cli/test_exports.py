import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from pas.steering.export.control_vector import read_control_vector
from pas.steering.export.formats import FORMATS
from pas.steering.vector import SteeringVector
from tasks import resources
from tests.helpers.exported import vector_for
from tests.helpers.registries import log

NAME = "pas-tiny-toy"


@pytest.fixture
def own(tmp_path: Path, tiny_folder: Path) -> SteeringVector:
    model = load_model(ModelSpec(str(tiny_folder), device="cpu"), tmp_path / "cache")
    return vector_for(model, 2)


def test_a_registered_vector_and_its_folder_export_the_same(pas, own, home, tmp_path) -> None:
    log(resources.registry(), NAME, vector=own)
    own.save(tmp_path / "vector")
    for source, out in ((NAME, "a.gguf"), (tmp_path / "vector", "b.gguf")):
        ran = pas("export", source, "--to", "gguf", "--out", tmp_path / out)
        assert ran.code == 0 and ran.out == ""
        assert "for llama.cpp" in ran.err and "It steers every position" in ran.err
    first, second = (tmp_path / name for name in ("a.gguf", "b.gguf"))
    assert first.read_bytes() == second.read_bytes()
    assert np.array_equal(read_control_vector(first)[2], own.strength * own.direction)


def test_the_json_answer_is_the_notes_and_where_they_are(pas, own, tmp_path) -> None:
    replace(own, fingerprint="of another release").save(tmp_path / "vector")
    asked = ("export", tmp_path / "vector", "--to", "repeng", "--out", tmp_path / "v.gguf")
    answer = json.loads(pas(*asked, "--strength", -2, "--json").out)
    notes = json.loads(Path(answer["notes_path"]).read_text())
    assert notes == {k: v for k, v in answer.items() if k not in ("path", "notes_path")}
    assert notes["vectors"][0]["strength"] == -2
    assert notes["same_model_as_trained"] is False
    assert "changed since training" in pas(*asked).err


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"--to": "onnx"}, "there is no such format; give one of gguf"),
     ({"--out": "v.bin"}, "ends in .gguf"),
     ({"--strength": "0"}, "nothing would be added"),
     ({"--strength": "nan"}, "give a finite number"),
     ({"--model": "nowhere"}, "there is no such folder")],
)  # fmt: skip
def test_a_mistake_is_told_and_nothing_written(pas, own, tmp_path, changes, words) -> None:
    own.save(tmp_path / "vector")
    options = {"--to": "gguf", "--out": "v.gguf"} | changes
    options["--out"] = tmp_path / "new" / options["--out"]
    ran = pas("export", tmp_path / "vector", *(word for pair in options.items() for word in pair))
    assert ran.code == 2 and words in ran.err and "Traceback" not in ran.err
    assert not (tmp_path / "new").exists()


def test_the_help_names_every_format(pas) -> None:
    text = pas("export", "--help").out
    assert all(name in text for name in FORMATS)
