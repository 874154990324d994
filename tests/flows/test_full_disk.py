"""A command on a full disk says so in a line, loses nothing, and goes on where there is room."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.lake.files import open_lake
from storage.lake.verification import verify
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, SAME, environment, training

pytestmark = [pytest.mark.server, pytest.mark.faults]
PLENTY = 2**30


class Disk:
    """A disk in memory, as small as one likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        """Give it so many bytes; what is on it stays."""
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(self.folder)], check=True, timeout=60)

    def used(self) -> int:
        """The bytes in use."""
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "pas-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True, timeout=60).returncode:
        pytest.skip("a small disk can be made by Linux's root alone")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)


class Place:
    """The same training, with its home or its lake on any disk."""

    def __init__(self, folder: Path, model: Path) -> None:
        data = write_toy(folder / "toy.jsonl", 40)
        self.command = training(data, model, "--max-kl", "0.1")
        self.cache = {"PYTHONPATH": str(ROOT), "PAS_CACHE_DIR": str(folder / "cache")}

    def train(self, home: Path, lake: Path | None = None) -> subprocess.CompletedProcess[str]:
        own = environment(home) | self.cache | ({"PAS_LAKE": str(lake)} if lake else {})
        return subprocess.run(
            self.command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=own
        )


def refused(done: subprocess.CompletedProcess[str], lake: Path, tally: Any) -> None:
    """It said so, and what it kept is whole."""
    tally.add("faults", injected=1)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "o space" in error, error
    if lake.exists():
        opened = open_lake(str(lake))
        assert all(verify(opened, address).ok for address in opened.list())
    tally.add("faults", survived=1)


def same(done: subprocess.CompletedProcess[str], whole: dict[str, Any], tally: Any) -> None:
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    tally.add("faults", silently_wrong=sum(result[name] != whole[name] for name in SAME))
    assert [result[name] for name in SAME] == [whole[name] for name in SAME]


def test_a_home_and_a_lake_on_a_disk_that_is_too_small(
    tmp_path: Path, tiny_folder: Path, tally: Any
) -> None:
    """The disk grows from one try to the next, and is always too small but for the last one."""
    place = Place(tmp_path, tiny_folder)
    with small_disk(tmp_path / "whole") as disk:
        done = place.train(disk.folder / "home")
        assert done.returncode == 0, done.stderr
        whole, size = json.loads(done.stdout), disk.used()
        lake_size = sum(f.stat().st_size for f in (disk.folder / "home" / "lake").rglob("*.*"))
    with small_disk(tmp_path / "small") as disk:
        home = disk.folder / "home"
        # Prefect's database is there first, and its log of writes needs more than what is left.
        for share in (0.01, 0.25, 0.9):
            disk.resize(int(size * share))
            refused(place.train(home), home / "lake", tally)
        disk.resize(PLENTY)
        same(place.train(home), whole, tally)
    with small_disk(tmp_path / "apart") as disk:
        home, lake = tmp_path / "home", disk.folder / "lake"
        for share in (0.2, 0.7):
            disk.resize(int(lake_size * share))
            done = place.train(home, lake)
            refused(done, lake, tally)
            assert str(lake) in done.stderr
        disk.resize(PLENTY)
        same(place.train(home, lake), whole, tally)
