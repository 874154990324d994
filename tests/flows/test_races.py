"""Eight trainings that share prompts run at once, beside others that tidy and merge their lake."""

import subprocess
import sys
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
SEEDS = (0, 0, 0, 1, 1, 1, 2, 2)  # some do the very same work
# Without mercy: files are merged as soon as they are written.
MERGE = """
from storage.lake.compaction import merge, small_files
from storage.settings import settings
print("ready", flush=True)
while True:
    lake = settings().open_lake()
    for chosen in small_files(lake, 64_000_000, 0):
        if merge(lake, chosen) is not None:
            print("merged", flush=True)
"""
TIDY = """
from tasks.upkeep import collect_garbage, verify_files
print("ready", flush=True)
while True:
    assert [report for report in verify_files() if not report.ok] == []
    assert collect_garbage(None, dry_run=False) == []
"""


def test_eight_trainings_at_once_while_others_tidy_and_merge_their_lake(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 60)
    alone, home = tmp_path / "alone", tmp_path / "home"
    expected = {s: result_of(trained(alone, data, tiny_folder, s)) for s in {*SEEDS}}
    others = [begun(home, [sys.executable, "-c", text]) for text in (MERGE, TIDY)]
    try:
        for other in others:
            assert other.stdout is not None and other.stdout.readline() == "ready\n"
        trainings = [trained(home, data, tiny_folder, seed) for seed in SEEDS]
        results = [result_of(process, 4 * PATIENCE) for process in trainings]
        assert [other.poll() for other in others] == [None, None]
    finally:
        for other in others:
            other.kill()
    said = [other.communicate() for other in others]
    assert "merged" in said[0][0], said
    tally.add("races", run=1)
    lake = open_lake(str(home / "lake"))
    pairs = [(result, expected[seed]) for result, seed in zip(results, SEEDS, strict=True)]
    wrong = sum(found[name] != other[name] for found, other in pairs for name in SAME)
    wrong += sum(not verify(lake, address).ok for address in lake.list())
    # Of several trainings that make one vector, one registers it.
    wrong += abs(sum(result["is_new"] for result in results) - len({*SEEDS}))
    tally.add("races", violations=wrong)
    assert not wrong
    for found, other in pairs:
        # Cut into other shards, the last bits of a value may differ.
        one, two = directions(home, found), directions(alone, other)
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def trained(home: Path, data: Path, model: Path, seed: int) -> subprocess.Popen[str]:
    return begun(home, training(data, model, "--seed", str(seed)))


def begun(home: Path, command: list[str]) -> subprocess.Popen[str]:
    # Small shards, so that there is something to merge.
    own = environment(home) | {"PYTHONPATH": str(ROOT), "PAS_SHARD_TOKENS": "300"}
    return subprocess.Popen(
        command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def directions(home: Path, run: dict[str, Any]) -> np.ndarray:
    sql = f"SELECT direction FROM vectors WHERE run_id = '{run['run_id']}' ORDER BY method, layer"
    return np.array(query(open_lake(str(home / "lake")), sql)["direction"].to_pylist())
