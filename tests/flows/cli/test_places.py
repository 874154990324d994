"""Homes under any name, relative paths of models, and a home that gets another name."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.registry.client import MOVED
from storage.settings import settings
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, environment

pytestmark = [pytest.mark.server, pytest.mark.faults]
NAME = "pas-tiny-toy"
TRAIN = ("train", "--task", "toy", "--data", "toy.jsonl", "--model", "tiny", "--group-col", "topic",
         "--layers", "1", "--strengths", "1", "--json", "--seed")  # fmt: skip
STEER = ("steer", NAME, "Where does the heron", "--max-new-tokens", "4", "--strength", "2")


def test_a_home_of_any_name_and_its_next_name(
    pas: Callable[..., Any], tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "a b%20c #1 100% é", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    home, moved = folder / "home#%20", folder / "moved home%2F"
    shutil.copytree(tiny_folder, folder / "tiny")
    write_toy(folder / "toy.jsonl")

    def at(place: Path, here: Path) -> None:
        monkeypatch.setenv("PAS_HOME", str(place))
        monkeypatch.chdir(here)
        settings.cache_clear()

    # In a process of its own, with all that a home has.
    trained = subprocess.run(
        [sys.executable, "-m", "flows.cli", *TRAIN, "0"], cwd=folder, capture_output=True,
        text=True, timeout=PATIENCE, env=environment(home) | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["version"] == 1
    at(home, elsewhere)
    assert f"{NAME}:1" in pas("vectors").out
    steered = pas(*STEER)
    assert steered.code == 0 and steered.out.strip(), steered.err
    assert _served(home, elsewhere) != ""

    home.rename(moved)
    at(moved, folder)
    for command in (STEER, ("promote", NAME), (*TRAIN, "1")):
        lost = pas(*command)
        assert lost.code == 2 and MOVED in lost.err and "Traceback" not in lost.err
    assert "extract:" not in lost.err, "told before the work"
    assert not home.exists()
    assert pas("doctor").code == 1
    assert pas("registry", "move").code == 0
    at(moved, elsewhere)
    assert pas(*STEER).out == steered.out
    at(moved, folder)
    again = pas(*TRAIN, "1")
    assert again.code == 0, again.err
    assert json.loads(again.out)["version"] == 2 and not home.exists()


def _served(home: Path, folder: Path) -> str:
    code = (
        "import mlflow, sys\n"
        # Without it MLflow takes the path for a URL, and cuts it at `#`.
        f"model = mlflow.pyfunc.load_model('models:/{NAME}@candidate', dst_path='fetched')\n"
        "print(ascii(model.predict(['It eats'], params={'max_new_tokens': 3})))\n"
    )
    (folder / "fetched").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
        env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db", "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
