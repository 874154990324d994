"""`pas registry`, on homes that were moved, and what `pas vectors` says of a broken registry."""

import json
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from storage.registry.client import MOVED
from storage.registry.promotion import promote
from storage.settings import settings
from tasks import resources
from tests.helpers.data_files import write_toy
from tests.helpers.processes import PATIENCE, environment
from tests.helpers.registries import log, vector

NAME = "pas-tiny-toy"


@pytest.fixture
def steering(home: Path, tmp_path: Path, tiny_folder: Path) -> None:
    """A champion in the home that steers the tiny model."""
    model = load_model(ModelSpec(str(tiny_folder), device="cpu"), tmp_path / "cache")
    own = replace(vector(), model=model.spec, fingerprint=model.fingerprint)
    log(resources.registry(), NAME, vector=own)
    promote(resources.registry(), NAME, 1)


def test_a_moved_home_steers_again(pas, steering, home, tmp_path, monkeypatch) -> None:
    ask = ("steer", NAME, "Where does the heron", "--max-new-tokens", 4)
    before = pas(*ask)
    assert (before.code, before.out != "") == (0, True)
    new = tmp_path / "new home"
    home.rename(new)
    monkeypatch.setenv("PAS_HOME", str(new))
    settings.cache_clear()
    lost = pas(*ask)
    assert lost.code == 2 and MOVED in lost.err and "Traceback" not in lost.err
    listed = pas("vectors")
    assert listed.code == 0 and f"{NAME}:1" in listed.out
    assert f"note: the database has the artifacts of this home in {home}" in listed.err
    moved = json.loads(pas("registry", "move", "--json").out)
    assert moved == [{"old": str(home / "artifacts"), "new": str(new / "artifacts"), "entries": 5}]
    assert pas(*ask).out == before.out
    assert "note" not in pas("vectors").err
    assert "nothing was changed" in pas("registry", "move").err


@pytest.mark.server
def test_reconcile_tells_what_it_cannot_judge(pas, steering) -> None:
    log(resources.registry(), NAME, vector=vector(3.0))
    ran = pas("registry", "reconcile")
    assert ran.code == 0
    assert f"{NAME} version 2 cannot be judged: " in ran.err and "no evaluation" in ran.err


@pytest.mark.faults
@pytest.mark.parametrize("harm", ["garbage", "truncated", "locked"])
def test_a_registry_that_cannot_be_read_is_told_in_a_line(
    home: Path, empty_database: Path, tmp_path: Path, tiny_folder: Path, harm: str
) -> None:
    home.mkdir()
    file = Path(shutil.copy(empty_database, home / "mlflow.db"))
    if harm != "locked":
        file.write_bytes(b"garbage" * 9 if harm == "garbage" else file.read_bytes()[:99_999])
    before = file.read_bytes()
    train = ["train", "--task", "toy", "--model", str(tiny_folder), "--seed", "1"]
    commands = [["vectors"], ["promote", NAME], ["steer", NAME, "Where?"], ["registry", "move"],
                [*train, "--data", str(write_toy(tmp_path / "toy.jsonl"))]]  # fmt: skip
    with closing(sqlite3.connect(file)) as other:
        if harm == "locked":
            other.execute("BEGIN EXCLUSIVE")

        def run(command: list[str]) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "flows.cli", *command], env=environment(home),
                capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip

        with ThreadPoolExecutor() as pool:  # each waits for seconds for what is locked
            ran = list(pool.map(run, commands))
        for done in ran:
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            [line] = done.stderr.splitlines()
            assert line.startswith("error: ") and str(file) in line
            assert ("is locked" if harm == "locked" else "restore it from a backup") in line
    assert file.read_bytes() == before
    assert not (home / "lake").exists() and not (home / "prefect").exists()
