"""The embedded Prefect server: one for a command, or one that stays for a home (`pas up`)."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, NamedTuple

import psutil

from pas.errors import UserError
from storage.processes import Process, ended, parse, this_process
from tasks.prefect_api import PrefectServer, prefect_home, prefect_server, prefect_setting

log = logging.getLogger("pas")
_ENDING = 10  # seconds for a server to end before it is killed


class Server:
    """A server that this process has started.

    Attributes:
        address: Where it will answer once it is ready; its API is under `/api`.
    """

    def __init__(self, log: IO[bytes], *arguments: str) -> None:
        """Start the process; unless it stays, it writes nothing yet.

        Args:
            log: A file for what goes wrong.
            arguments: Port, and whether it stays; see `flows.embedded_server`.

        Raises:
            UserError: If the port is in use.
        """
        self._log, self._ready = log, False
        self._process = subprocess.Popen(
            # Not what the folder that the user stands in may hold under the same names.
            [sys.executable, "-P", "-m", "flows.embedded_server", *arguments],
            env=os.environ | {"PYTHONPATH": _path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the command, which then ends the server
        )
        self.address = self._read_line()

    def wait_until_ready(self) -> None:
        """Let it open the home's database, and wait until it answers.

        Raises:
            UserError: If it ends instead, such as where the disk is full.
        """
        if self._ready:
            return
        assert self._process.stdin
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the next line says why
        while (line := self._read_line()) != "ready":
            log.warning("%s", line)
        self._ready = True

    def stop(self) -> None:
        """End it, by the end of its input."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once; its database bears that."""
        self._process.kill()

    def _read_line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if line:
            return line
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip() or "it gave no reason"
        raise UserError(f"Prefect's embedded server could not start: {said.splitlines()[-1]}")


def _path() -> str:
    """Return the search path by which a new process finds this code."""
    here = str(Path(__file__).parents[1])
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))


def start_for_command() -> Server:
    """Start a server that ends with this process."""
    return Server(tempfile.TemporaryFile(), "0")


class Staying(NamedTuple):
    """A server that stays: its process, and the address of its pages."""

    process: Process
    address: str


def start_staying(home: Path, port: int | None) -> Staying:
    """Start a server that stays, and wait until it answers.

    Args:
        home: `PAS_HOME`.
        port: On loopback; None for 4200 or, where that is taken, any.

    Raises:
        UserError: If it cannot be started.
    """
    with (prefect_home(home) / "server.log").open("w+b") as log:
        try:
            server = Server(log, str(4200 if port is None else port), "--stay")
        except UserError:
            if port is not None:
                raise
            server = Server(log, "0", "--stay")
        server.wait_until_ready()
    found = find_staying(home)
    assert found is not None
    return found


def find_staying(home: Path) -> Staying | None:
    """Return the server that stays for a home; None if there is none or it has ended."""
    try:
        kept = json.loads(_note(home).read_text(encoding="utf-8"))
        process, address = parse(kept["process"]), str(kept["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if process is None or ended(process) else Staying(process, address)


def running_server(home: Path, timeout: float) -> PrefectServer | None:
    """Return the server that is set or that stays for the home; None if there is none.

    Args:
        home: `PAS_HOME`.
        timeout: Seconds to wait for each answer.
    """
    staying = find_staying(home)
    if prefect_setting(home, "PREFECT_API_URL"):
        return prefect_server(home, timeout=timeout)
    return prefect_server(home, f"{staying.address}/api", timeout) if staying else None


def has_open_runs(home: Path) -> bool:
    """Whether the home's own database has runs that have not ended; it is only looked at.

    Raises:
        UserError: If it is damaged.
    """
    file = prefect_home(home) / "prefect.db"
    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            query = "SELECT 1 FROM flow_run WHERE state_type IN ('RUNNING', 'PENDING') LIMIT 1"
            return database.execute(query).fetchone() is not None
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{file} cannot be read ({error}); the next command that runs a flow sets it aside if "
            "it is damaged, and makes a new one"
        ) from error


def note_staying(address: str) -> None:
    """Keep in the home that this process is its server."""
    from storage.settings import settings

    file = _note(settings().root)
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps({"process": str(this_process()), "address": address}))
    unfinished.rename(file)


def stop_staying(home: Path, staying: Staying) -> None:
    """End a server that stays."""
    process = psutil.Process(staying.process.pid)
    process.terminate()
    try:
        process.wait(_ENDING)
    except psutil.TimeoutExpired:
        process.kill()
    _note(home).unlink(missing_ok=True)


def _note(home: Path) -> Path:
    return prefect_home(home) / "server.json"
