import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from pas.steering.export.control_vector import read_control_vector
from pas.steering.export.formats import FORMATS
from pas.steering.export.formats import export as export_vector
from pas.steering.intervention import Composition
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


def test_an_import_is_a_vector_or_a_composition(pas, own, tiny_folder, tmp_path) -> None:
    own.save(tmp_path / "own")
    pas("export", tmp_path / "own", "--to", "gguf", "--out", tmp_path / "v.gguf")
    asked = ("import", tmp_path / "v.gguf", "--model", tiny_folder)
    ran = pas(*asked, "--out", tmp_path / "one", "--layers", 2, "--task", "polite")
    assert ran.code == 0 and "1 layer of v.gguf" in ran.err and "steer every position" in ran.err
    found = SteeringVector.load(tmp_path / "one")
    assert np.allclose(found.direction, own.strength * own.direction) and found.task == "polite"
    taken = pas(*asked, "--out", tmp_path / "one")
    assert taken.code == 2 and "it is there already" in taken.err

    save_file({"v": torch.ones(4, own.direction.size)}, tmp_path / "rows.safetensors")
    several = ("import", tmp_path / "rows.safetensors", "--model", tiny_folder, "--json")
    answer = json.loads(pas(*several, "--out", tmp_path / "all", "--strength", 0.5).out)
    assert answer["kind"] == "composition" and len(answer["vectors"]) == 4
    assert {one.strength for one in Composition.load(tmp_path / "all")} == {0.5}
    out = tmp_path / "again.gguf"
    refused = pas("export", tmp_path / "all", "--to", "gguf", "--out", out)
    assert refused.code == 2 and "cannot steer block 0" in refused.err
    assert pas("export", tmp_path / "all", "--to", "repeng", "--out", out).code == 0
    assert len(read_control_vector(out)) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--layers", "a"), "give numbers with commas"), (("--layers", "1"), "nothing for layer 1"),
     (("--numbering", "from 1"), "give blocks or hidden-states"),
     (("--numbering", "hidden-states"), "leave out --numbering"),
     (("--model", "nowhere"), "there is no such folder")],
)  # fmt: skip
def test_a_mistake_of_an_import_is_told_and_nothing_written(
    pas, own, tiny_folder, tmp_path, options, words
) -> None:
    export_vector(own, "gguf", tmp_path / "v.gguf")
    asked = {"--model": str(tiny_folder), "--out": str(tmp_path / "new")} | dict([options])
    ran = pas("import", tmp_path / "v.gguf", *(word for pair in asked.items() for word in pair))
    assert ran.code == 2 and words in ran.err and "Traceback" not in ran.err
    assert not (tmp_path / "new").exists()


def test_auto_is_the_strength_of_the_calibration(pas, own, tmp_path) -> None:
    own.save(tmp_path / "vector")
    asked = ("export", tmp_path / "vector", "--to", "gguf", "--strength", "auto", "--out")
    before = pas(*asked, tmp_path / "v.gguf")
    assert before.code == 2 and "run pas calibrate" in before.err
    assert pas("calibrate", tmp_path / "vector").code == 0
    strength = json.loads((tmp_path / "vector" / "calibration.json").read_text())["strength"]
    ran = pas(*asked, tmp_path / "v.gguf")
    assert ran.code == 0 and "every position takes more damage" in ran.err
    found = read_control_vector(tmp_path / "v.gguf")[own.layer]
    assert np.allclose(found, np.float32(strength) * own.direction)
    assert (
        pas(
            "export",
            tmp_path / "vector",
            "--to",
            "gguf",
            "--strength",
            "much",
            "--out",
            tmp_path / "w.gguf",
        ).code
        == 2
    )
