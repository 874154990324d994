"""Processes that outlive the command that starts them, found again by the files that name them."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from storage.processes import ended, parse, process_of, this_process

# A cold machine with two busy cores; a warm one needs a tenth of it.
PATIENCE = 300
_POLITE = 20  # seconds between a signal and SIGKILL
Found = TypeVar("Found")


class NotReadyError(Exception):
    """Something that was started did not come up."""


def free_port(preferred: int = 0) -> int:
    """Return a port of 127.0.0.1 that nothing listens on: the preferred one, or else any."""
    for wanted in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            # As the servers do it: what a stopped one has left in TIME_WAIT is no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            port: int = probe.getsockname()[1]
            return port
    raise NotReadyError("127.0.0.1 has no free port")


def start(
    folder: Path, name: str, command: Sequence[str], environment: Mapping[str, str], at: Path
) -> bool:
    """Start a process in the background, unless the one of this name still runs.

    Args:
        folder: Gets `NAME.log`, and `NAME.pid`, which says which process it is.
        name: To find it again.
        command: Program and arguments.
        environment: Its whole environment.
        at: The folder to start it in.

    Returns:
        Whether it was started now.
    """
    if find(folder, name) is not None:
        return False
    # A script's background jobs ignore SIGINT, and pass that on. Prefect's worker turns SIGTERM
    # into SIGINT, so it would never stop. A handler is not passed on: the child has the default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (folder / f"{name}.log").open("ab") as output:
            # A session of its own: Ctrl-C in the shell is not for the servers.
            started = subprocess.Popen(
                command, cwd=at, env=dict(environment), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    _file(folder, name).write_text(str(process_of(started.pid)))
    return True


def find(folder: Path, name: str) -> psutil.Process | None:
    """Return the running process of this name, or None. An id that was given anew is not it."""
    try:
        known = parse(_file(folder, name).read_text())
    except FileNotFoundError:
        return None
    if known is None or known.machine != this_process().machine or ended(known):
        return None
    return psutil.Process(known.pid)


def stop(
    folder: Path, name: str, by: signal.Signals = signal.SIGTERM, polite: float = _POLITE
) -> bool:
    """Stop a process and its children, and forget it; return whether it ran.

    Args:
        folder: Where its file is.
        name: Of the process.
        by: The signal that asks it to end.
        polite: Seconds until what has not ended is killed.
    """
    process = find(folder, name)
    if process is not None:
        # A worker's flow runs lead groups of their own, so the family is noted before it parts.
        family = [process, *process.children(recursive=True)]
        process.send_signal(by)
        for survivor in psutil.wait_procs(family, timeout=polite)[1]:
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        psutil.wait_procs(family, timeout=_POLITE)
    _file(folder, name).unlink(missing_ok=True)
    return process is not None


def wait_for(
    what: str, look: Callable[[], Found], *, seconds: float = PATIENCE, every: float = 0.5
) -> Found:
    """Look until there is something, and return it.

    Raises:
        NotReadyError: If it does not come in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(every)
    raise NotReadyError(f"{what} did not come within {seconds:g} s")


def is_up(address: str) -> bool:
    """Whether a server answers: Prefect's API, or MLflow, under its address."""
    try:
        return httpx.get(f"{address}/health", timeout=60).is_success
    except httpx.TransportError:
        return False


def without_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment less what is set for Prefect, MLflow, object stores or for us."""
    own = ("PREFECT_", "PAS_", "MLFLOW_", "AWS_")
    return {name: value for name, value in environment.items() if not name.startswith(own)}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pid"
