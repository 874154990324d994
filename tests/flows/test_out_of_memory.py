"""A training that has too little memory ends, loses nothing, and goes on where there is enough."""

import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from storage.lake.files import open_lake
from storage.lake.verification import verify
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import SAME, environment, training

pytestmark = [pytest.mark.server, pytest.mark.faults]
# Of address space: with the least of them Python's libraries hardly load.
GIGABYTES = (2.4, 2.65)


def test_a_training_survives_too_little_memory(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    command = training(write_toy(tmp_path / "toy.jsonl", 40), tiny_folder)

    def run(home: Path, gigabytes: float | None = None) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            if gigabytes is not None:
                size = int(gigabytes * 2**30)
                resource.setrlimit(resource.RLIMIT_AS, (size, size))

        return subprocess.run(
            command, env=environment(home) | {"PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, check=False, preexec_fn=limit, timeout=300,
        )  # fmt: skip

    failed = 0
    for gigabytes in GIGABYTES:
        done = run(tmp_path / "short", gigabytes)
        if done.returncode == 0:
            continue
        failed += 1
        tally.add("faults", injected=1)
        lake = open_lake(str(tmp_path / "short" / "lake"))
        assert all(verify(lake, address).ok for address in lake.list())
        tally.add("faults", survived=1)
    assert failed, "every run had enough memory"
    short, whole = (json.loads(run(tmp_path / name).stdout) for name in ("short", "whole"))
    tally.add("faults", silently_wrong=sum(short[name] != whole[name] for name in SAME))
    assert [short[name] for name in SAME] == [whole[name] for name in SAME]
