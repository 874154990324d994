"""A training killed in the middle of extraction goes on where it stopped."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.catalogue.views import query
from storage.lake.files import open_lake
from tests.helpers.data_files import write_toy
from tests.helpers.processes import PATIENCE, environment, training

pytestmark = [pytest.mark.server, pytest.mark.faults]


def command(data: Path, model: Path) -> list[str]:
    return training(data, model, "--layers", "0,1,2,3", "--strengths", "1")


def directions(home: Path) -> np.ndarray:
    lake = open_lake(str(home / "lake"))
    rows = query(lake, "SELECT direction FROM vectors ORDER BY method, layer")
    return np.array(rows["direction"].to_pylist())


def test_a_killed_run_loses_only_the_shards_in_flight(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 70)
    home, other = tmp_path / "killed", tmp_path / "whole"
    killed = subprocess.Popen(
        command(data, tiny_folder), env=environment(home), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    lake = open_lake(str(home / "lake"))
    began = time.monotonic()
    while len(lake.list("activations")) < 3:
        assert killed.poll() is None, killed.stderr.read().decode()
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    tally.add("faults", injected=1)
    assert lake.list("tables") == []
    finished = lake.list("activations")

    def run(at: Path) -> dict:
        done = subprocess.run(
            command(data, tiny_folder), env=environment(at), capture_output=True, check=True
        )
        return json.loads(done.stdout)

    resumed, whole = run(home), run(other)
    assert 0 < resumed["prompts_extracted"] < whole["prompts_extracted"] == whole["prompts_total"]
    assert set(finished) <= set(lake.list("activations"))
    np.testing.assert_allclose(directions(home), directions(other), rtol=1e-5, atol=1e-7)
    same = ("method", "layer", "strength", "baseline_accuracy", "steered_accuracy", "p_value")
    assert [resumed[n] for n in same] == [whole[n] for n in same]
    tally.add("faults", survived=1)
