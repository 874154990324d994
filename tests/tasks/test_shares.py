"""Work that processes share: every unit is filled, whoever dies, and by one process only."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from storage.lake.stages import SHARES
from tasks import resources, shares
from tasks.shares import Unit, Work, fill, find_work, new_folder, read_work, remove_work, write_work
from tests.helpers.places import ROOT
from tests.helpers.recipes import toy

UNITS = tuple(Unit((f"stages/units/{i}.parquet",), ("a text",), (f"item {i}",)) for i in range(40))


def mark(unit: Unit) -> None:
    resources.lake().write_table(unit.addresses[0], pa.table({"n": [1]}))


@pytest.fixture
def work(home: Path, tmp_path: Path, tiny_folder: Path) -> str:
    recipe = toy(tmp_path, tiny_folder)
    return write_work(new_folder(), Work("extract", recipe, "stages/split", "", UNITS))


def test_work_comes_back_as_it_was_written(work: str, tmp_path: Path, tiny_folder: Path) -> None:
    assert read_work(work) == Work("extract", toy(tmp_path, tiny_folder), "stages/split", "", UNITS)
    folder = work.removesuffix("/extract/work.json")
    assert find_work(folder) == [work]
    remove_work(folder)
    assert find_work(folder) == []
    assert resources.lake().list(SHARES, suffix="") == []


def test_of_two_at_once_each_fills_units_of_its_own(work: str) -> None:
    filled: dict[str, list[str]] = {"one": [], "other": []}
    both = threading.Barrier(2)

    def run(name: str) -> None:
        def slowly(unit: Unit) -> None:
            filled[name].append(unit.addresses[0])
            time.sleep(0.01)
            mark(unit)

        both.wait()
        fill(work, UNITS, slowly, finish=False)

    threads = [threading.Thread(target=run, args=(name,)) for name in filled]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*filled["one"], *filled["other"]} == {unit.addresses[0] for unit in UNITS}
    assert len(filled["one"]) + len(filled["other"]) == len(UNITS)
    assert min(map(len, filled.values())) >= 5


@pytest.mark.parametrize("end", ["SIGKILL", "SIGSTOP"])
def test_units_that_a_dead_or_hanging_process_had_claimed_are_filled_by_the_one_that_finishes(
    work: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(shares, "WAIT", 0.2)
    claim = (
        "import sys; from tasks import shares, resources\n"
        "work = shares.read_work(sys.argv[1])\n"
        f"def end(unit): import os, signal; os.kill(os.getpid(), signal.{end})\n"
        "shares.fill(sys.argv[1], work.units, end, finish=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", claim, work], cwd=ROOT)
    states = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    while psutil.Process(process.pid).status() not in states:
        time.sleep(0.05)
    try:
        assert fill(work, UNITS, mark, finish=False) == len(UNITS) - 1
        assert fill(work, UNITS, mark, finish=True) == 1
    finally:
        process.kill()
        process.wait()
    assert all(unit.is_filled for unit in UNITS)


def test_who_finishes_waits_for_units_that_others_are_filling(work: str) -> None:
    *mine, last = UNITS

    def slowly(unit: Unit) -> None:
        time.sleep(1.0)
        mark(unit)

    other = threading.Thread(target=fill, args=(work, [last], slowly), kwargs={"finish": False})
    other.start()
    time.sleep(0.2)
    # The claims are by position, so the other's unit is the first here.
    assert fill(work, [last, *mine], mark, finish=True) == len(mine)
    other.join()


def test_an_error_ends_the_work(work: str) -> None:
    def fails(unit: Unit) -> None:
        raise RuntimeError(unit.addresses[0])

    with pytest.raises(RuntimeError, match="stages/units"):
        fill(work, UNITS, fails, finish=True)
