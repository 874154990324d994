"""A study killed in the middle goes on where it stopped, and ends as if it had not been."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.lake.files import open_lake
from storage.lake.verification import verify
from tests.helpers.data_files import write_toy
from tests.helpers.processes import PATIENCE, environment

pytestmark = [pytest.mark.server, pytest.mark.faults]
SEED = int(os.environ.get("KILLS_SEED", "0"))
KILLS = int(os.environ.get("KILLS", "2"))


def results(home: Path) -> list[dict]:
    return json.loads((home / "studies" / "killed" / "results.json").read_text())["results"]


def test_a_killed_study_goes_on(tmp_path: Path, tiny_folder: Path, tally: Any) -> None:
    write_toy(tmp_path / "one.jsonl", 40)
    file = tmp_path / "study.yaml"
    content = {
        "name": "killed", "models": [str(tiny_folder)], "seeds": 2,
        "recipe": {"layers": "1", "strengths": "4", "group_col": "topic"},
        "tasks": [{"task": "one", "data": "one.jsonl"}], "settings": {"icl": {"shots": 2}},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "flows.cli", "study", str(file)]
    home, other = tmp_path / "killed", tmp_path / "whole"
    began = time.monotonic()
    subprocess.run(command, env=environment(other), capture_output=True, check=True)
    usual = time.monotonic() - began
    killed = _begun(command, home)
    lake, began = open_lake(str(home / "lake")), time.monotonic()
    while not (kept := lake.list("stages/results")):
        assert killed.poll() is None, killed.stderr.read().decode()
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    tally.add("faults", injected=1)
    assert len(kept) < 4 and not (home / "studies").exists()
    first = {address: lake.read_table(address) for address in kept}

    tally.add("faults", survived=1)
    moments = random.Random(SEED)
    for _ in range(KILLS):
        killed = _begun(command, home)
        with suppress(subprocess.TimeoutExpired):
            killed.communicate(timeout=usual * moments.random())
        if killed.poll() is None:
            tally.add("faults", injected=1)
            os.killpg(killed.pid, signal.SIGKILL)
            killed.communicate()
            assert all(verify(lake, address).ok for address in lake.list())
            tally.add("faults", survived=1)

    resumed = subprocess.run(command, env=environment(home), capture_output=True, check=True)
    assert b"study: 4 of 4" in resumed.stderr
    assert all(lake.read_table(address).equals(table) for address, table in first.items())
    assert (home / "studies" / "killed" / "report.html").stat().st_size > 10_000
    own = {"seconds", "run_id"}
    assert [{k: v for k, v in row.items() if k not in own} for row in results(home)] == [
        {k: v for k, v in row.items() if k not in own} for row in results(other)
    ]


def _begun(command: list[str], home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment(home), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
