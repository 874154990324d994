"""`pas calibrate`, and the strength auto that it makes known."""

import json
from pathlib import Path

import pytest

from flows.train import train
from pas.steering.generate import generate
from pas.steering.intervention import Composition, Intervention
from serving.vectors import Vectors
from storage.registry.client import client
from storage.registry.versions import load_vector, resolve
from tasks import resources
from tests.helpers.recipes import toy

pytestmark = pytest.mark.server


def test_a_trained_vector_is_calibrated(pas, home: Path, tmp_path: Path, tiny_folder: Path) -> None:
    made = train(toy(tmp_path, tiny_folder).but(scoring="choice", max_kl=None))
    name = made.outcome.model_name
    before = pas("steer", name, "It eats", "--strength", "auto")
    assert before.code == 2 and f"run pas calibrate {name}:1 first" in before.err

    ran = pas("calibrate", name, "--instruction", "Be brief.", "--shots", "2", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert [row["how"] for row in told["asking"]] == ["instruction: Be brief.", "2 worked examples"]
    assert all(0 <= row["asked"] <= 1 and row["n"] > 0 for row in told["asking"])
    assert told["kl"] <= told["budget"] == 0.1
    registry = resources.registry()
    version = resolve(registry, name)
    files = {f.path for f in client(registry).list_artifacts(version.run_id, "calibration")}
    assert files == {"calibration/calibration.json", "calibration/calibration.png"}

    vector = load_vector(registry, version)
    model = resources.model(vector.model)
    text = generate(model, "It eats", vector, strength=told["strength"], max_new_tokens=5)
    ran = pas("steer", name, "It eats", "--strength", "auto", "--max-new-tokens", "5", "--json")
    assert json.loads(ran.out)["steered"] == text
    assert Vectors(model, registry, {}).find(name).calibrated == told["strength"]

    folder = tmp_path / "copy"
    vector.save(folder)
    ran = pas("calibrate", folder)
    assert ran.code == 0 and "auto: strength" in ran.err
    alone = json.loads((folder / "calibration.json").read_text())
    assert alone["strength"] == pytest.approx(told["strength"])
    assert alone["points"][0]["accuracy"] is None

    # The same from the folder, and other positions and operations.
    same = pas("steer", folder, "It eats", "--strength", "auto", "--max-new-tokens", "5")
    assert same.out == text.strip() + "\n"
    ablation = Composition((Intervention(vector, None, "all", "ablate"),))
    ran = pas(
        "steer", folder, "It eats", "--operation", "ablate", "--positions", "all", "--compare",
        "--max-new-tokens", "5", "--json",
    )  # fmt: skip
    told = json.loads(ran.out)
    assert told["steered"] == generate(model, "It eats", ablation, max_new_tokens=5)
    assert told["unsteered"] == generate(model, "It eats", None, max_new_tokens=5)
    assert told["strength"] == 1.0
    ablation.save(tmp_path / "both")
    ran = pas("steer", tmp_path / "both", "It eats", "--max-new-tokens", "5")
    assert ran.out == told["steered"].strip() + "\n"
    for options, words in (
        (("--positions", "last"), "positions 'last'"),
        (("--operation", "scale"), "operation 'scale'"),
    ):
        ran = pas("steer", folder, "It eats", *options)
        assert ran.code == 2 and words in ran.err
    ran = pas("steer", tmp_path / "both", "It eats", "--strength", "auto")
    assert ran.code == 2 and "a composition is not calibrated" in ran.err

    ran = pas("steer", name, "It eats", "--strength", "much")
    assert ran.code == 2 and "give a number, or auto" in ran.err
    ran = pas("calibrate", name, "--budget", "0")
    assert ran.code == 2 and "--budget 0" in ran.err
