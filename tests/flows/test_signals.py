"""A signal ends a command at once, with one line and no process left; no run stays open."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers.data_files import write_toy
from tests.helpers.processes import PATIENCE, environment

pytestmark = [pytest.mark.server, pytest.mark.faults]
LIMIT = 10  # seconds from the signal to the end


def train(folder: Path, model: Path, items: int = 60) -> list[str]:
    data = write_toy(folder / "toy.jsonl", items)
    return ["train", "--task", "toy", "--data", str(data), "--model", str(model),
            "--layers", "0,1,2,3", "--strengths", "1"]  # fmt: skip


def started(arguments: list[str], home: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments], env=environment(home), text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=_default_signals,
    )  # fmt: skip


def _default_signals() -> None:
    """Undo what nohup, or a shell that runs the tests in the background, has had ignored."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def until(process: subprocess.Popen, moment: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not moment():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def stop(process: subprocess.Popen, tally: Any, *numbers: int) -> str:
    """Send the signals, check the end, and return what was said on stderr."""
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    for number in numbers:
        os.kill(process.pid, number)
        tally.add("signals", sent=1)
    out, err = process.communicate(timeout=LIMIT)
    tally.put("signals", "longest end in s", round(time.monotonic() - began, 1))
    left = psutil.wait_procs(family, timeout=LIMIT)[1]
    tally.put("signals", "processes left", len(left))
    assert left == [], "a process is left"
    assert "Traceback" not in out + err
    return err


def states(home: Path, table: str = "flow_run") -> list[str]:
    return query(home / "prefect" / "prefect.db", f"SELECT state_name FROM {table}")


def query(file: Path, sql: str) -> list[str]:
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as database:
        return [row[0] for row in database.execute(sql)]


def extracting(home: Path) -> bool:
    return any((home / "lake" / "activations").rglob("*.parquet"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_during_the_start_nothing_is_written(
    tmp_path: Path, tiny_folder: Path, tally: Any, number
) -> None:
    process = started(train(tmp_path, tiny_folder), tmp_path / "home")
    until(process, lambda: psutil.Process(process.pid).children())  # the server, not ready yet
    assert stop(process, tally, number).splitlines() == [
        f"stopped by {number.name}; what was finished is kept for the next run"
    ]
    assert process.returncode == 128 + number
    assert not (tmp_path / "home" / "prefect").exists()


def test_a_run_stopped_or_killed_in_extraction_is_closed(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    home = tmp_path / "home"
    command = train(tmp_path, tiny_folder, 70)
    process = started(command, home)
    until(process, lambda: extracting(home))
    said = stop(process, tally, signal.SIGTERM, signal.SIGTERM)
    assert process.returncode == 143 and said.count("stopped by") == 1

    process = started(command, home)
    # The first run may still say so: the second signal has ended the process at once.
    until(process, lambda: len(states(home)) == 2 and states(home).count("Running"))
    stop(process, tally, signal.SIGKILL)
    assert states(home).count("Running") == 1

    process = started(command, home)
    assert process.wait(PATIENCE) == 0, process.stderr.read()
    assert sorted(states(home)) == ["Completed", "Killed", "Killed"]
    assert {*states(home, "task_run")} <= {"Completed", "Cached", "Killed"}
    process.communicate()


def test_a_run_stopped_while_it_is_recorded_is_closed_in_mlflow(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    home = tmp_path / "home"
    process = started(train(tmp_path, tiny_folder), home)
    until(process, lambda: query(home / "mlflow.db", "SELECT 1 FROM sqlite_master LIMIT 1"))
    until(process, lambda: query(home / "mlflow.db", "SELECT status FROM runs"))
    stop(process, tally, signal.SIGHUP)
    assert process.returncode == 129
    assert query(home / "mlflow.db", "SELECT status FROM runs") == ["KILLED"]
    assert states(home) == ["Killed"]
