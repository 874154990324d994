"""MLflow's database is locked by another program while a training records: a line, nothing lost."""

import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.lake.files import open_lake
from storage.lake.verification import verify
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, environment, training

pytestmark = [pytest.mark.server, pytest.mark.faults]


def runs(database: Path) -> list[Any]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT status FROM runs").fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return []


def test_the_database_is_locked_in_the_middle(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    home = tmp_path / "home"
    data = write_toy(tmp_path / "toy.jsonl", 40)
    command = training(data, tiny_folder, "--layers", "1", "--strengths", "4")
    given = {"env": environment(home) | {"PYTHONPATH": str(ROOT)}, "text": True}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given)
    end = time.monotonic() + PATIENCE
    while not runs(home / "mlflow.db"):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    tally.add("faults", injected=1)
    with closing(sqlite3.connect(home / "mlflow.db", timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "locked a database of the home" in err.splitlines()[-1] and "Traceback" not in err, err
    lake = open_lake(str(home / "lake"))
    assert all(verify(lake, address).ok for address in lake.list())
    again = subprocess.run(command, capture_output=True, timeout=PATIENCE, **given)  # noqa: PLW1510
    assert again.returncode == 0, again.stderr
    assert {status for (status,) in runs(home / "mlflow.db")} <= {"FINISHED", "FAILED", "KILLED"}
    tally.add("faults", survived=1)
