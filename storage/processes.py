"""Which process a run belongs to, so that a run whose process was killed can be told and closed."""

import os
import platform
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import NamedTuple

import psutil

_SAME = 2.0  # seconds; the system works a start time out from its clock, which is corrected


class Process(NamedTuple):
    """A process of some machine.

    Attributes:
        machine: Digest of the machine's name and, on Linux, of the container: no name is told.
        pid: Process id, valid within the machine or container.
        started: Unix time, whole seconds. Process ids are used again.
    """

    machine: str
    pid: int
    started: int

    def __str__(self) -> str:
        """Return it as the value of a tag."""
        return f"{self.machine}-{self.pid}-{self.started}"


def parse(text: str) -> Process | None:
    """Return the process that a tag names; None for other text."""
    machine, _, rest = text.partition("-")
    pid, _, started = rest.partition("-")
    if not (pid.isdecimal() and started.isdecimal()):
        return None
    return Process(machine, int(pid), int(started))


@cache
def _machine() -> str:
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return blake2b(f"{platform.node()} {space}".encode(), digest_size=6).hexdigest()


def this_process() -> Process:
    """Return the process that asks."""
    return process_of(os.getpid())


def process_of(pid: int) -> Process:
    """Return the running process of this machine that has an id."""
    return Process(_machine(), pid, round(psutil.Process(pid).create_time()))


def ended(process: Process) -> bool:
    """Whether a process has surely ended; of another machine that cannot be known, so False."""
    if process.machine != _machine():
        return False
    try:
        found = psutil.Process(process.pid)
        alive = found.status() != psutil.STATUS_ZOMBIE
        return not (alive and abs(found.create_time() - process.started) < _SAME)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def ending(process: Process) -> str:
    """Say what became of a process, for the message of a run that it left behind."""
    begun = datetime.fromtimestamp(process.started, UTC)
    return f"process {process.pid}, started {begun:%Y-%m-%d %H:%M} UTC, was killed"
