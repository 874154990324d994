"""Processes in the background: started once, found again, stopped with their children."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.processes import NotReadyError, find, free_port, start, stop, wait_for
from storage.processes import this_process

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(300)"]
PARENT = [
    sys.executable, "-c",
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],"
    " start_new_session=True)\n"
    "print('here', flush=True)\n"
    "time.sleep(300)",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop(tmp_path, "it")


def begin(folder: Path, command: list[str]) -> psutil.Process:
    assert start(folder, "it", command, os.environ, folder)
    wait_for("its line", lambda: (folder / "it.log").read_text(), every=0.05)
    found = find(folder, "it")
    assert found is not None
    return found


def test_it_is_started_once(folder: Path) -> None:
    first = begin(folder, SLEEP)
    assert not start(folder, "it", SLEEP, os.environ, folder)
    assert find(folder, "it") == first
    assert stop(folder, "it") and not stop(folder, "it")
    assert find(folder, "it") is None and not first.is_running()


def test_its_children_end_with_it(folder: Path) -> None:
    parent = begin(folder, PARENT)
    [child] = parent.children()
    stop(folder, "it", polite=1.0)  # the child leads a group of its own and hears of nothing
    assert not child.is_running()


def test_it_heeds_sigint_though_its_starter_does_not(folder: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a script's background job
    try:
        process = begin(folder, SLEEP)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    process.wait(10)
    assert "KeyboardInterrupt" in (folder / "it.log").read_text()


def test_another_process_with_its_id_is_not_it(folder: Path) -> None:
    own = this_process()
    for other in (own._replace(started=own.started - 100), own._replace(machine="another")):
        (folder / "it.pid").write_text(str(other))
        assert find(folder, "it") is None
        assert not stop(folder, "it")  # it would have been this one


def test_a_port_that_is_taken_is_left_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_waiting_ends() -> None:
    began = time.monotonic()
    with pytest.raises(NotReadyError, match="the moon did not come within 0.2 s"):
        wait_for("the moon", lambda: None, seconds=0.2, every=0.05)
    assert time.monotonic() - began < 5
