"""A training that is killed or stopped at any moment, again and again, ends as one that was not."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.catalogue.views import query
from storage.lake.files import open_lake
from storage.lake.verification import verify
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, SAME, environment, result_of, training

pytestmark = [pytest.mark.server, pytest.mark.faults]
SEED = int(os.environ.get("KILLS_SEED", "0"))
KILLS = int(os.environ.get("KILLS", "6"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def test_a_training_survives_kills_at_random_moments(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    """With damage, evaluation and registration; the moments are a share of a whole training."""
    data = write_toy(tmp_path / "toy.jsonl", 40)
    command = training(data, tiny_folder, "--max-kl", "0.1")
    home, other = tmp_path / "killed", tmp_path / "whole"

    def begin(at: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, env=environment(at) | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    began = time.monotonic()
    whole = result_of(begin(other))
    usual = time.monotonic() - began
    moments = random.Random(SEED)
    for number in range(KILLS):
        process = begin(home)
        wait = usual * moments.random()
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            kind = SIGNALS[number % len(SIGNALS)]
            tally.add("faults", injected=1)
            (os.killpg if kind == signal.SIGKILL else os.kill)(process.pid, kind)
            sent = time.monotonic()
            out, err = process.communicate(timeout=PATIENCE)
            tally.add("signals", sent=1)
            if kind != signal.SIGKILL:
                tally.put("signals", "longest end in s", round(time.monotonic() - sent, 1))
            assert "Traceback" not in out + err, (SEED, number, wait, err)
            lake = open_lake(str(home / "lake"))
            reports = [verify(lake, address) for address in lake.list()]
            assert [report for report in reports if not report.ok] == []
            tally.add("faults", survived=1)
        else:
            process.communicate()
    resumed = result_of(begin(home))
    tally.add("faults", silently_wrong=sum(resumed[name] != whole[name] for name in SAME))
    assert [resumed[name] for name in SAME] == [whole[name] for name in SAME]
    np.testing.assert_array_equal(
        _directions(home, resumed["run_id"]), _directions(other, whole["run_id"])
    )
    held = set(open_lake(str(home / "lake")).list())
    lost = {a for a in open_lake(str(other / "lake")).list() if "run_id" not in a} - held
    shards = {a for a in lost if a.startswith(("activations/", "answers/"))}
    tally.add("faults", lost=len(lost - shards))
    assert lost - shards == set(), "every stage of the uninterrupted training, at its address"


def _directions(home: Path, run: str) -> np.ndarray:
    """The vectors of one run; a training that was stopped after its end has recorded another."""
    sql = f"SELECT direction FROM vectors WHERE run_id = '{run}' ORDER BY method, layer"
    return np.array(query(open_lake(str(home / "lake")), sql)["direction"].to_pylist())
