"""Prefect's server as a process of its own, see `flows.embedded`.

It says its port, imports what it needs while the command that started it does the same, and waits.
It writes nothing before a line of standard input tells it to, and ends when that input does: so it
never outlives its command, however that ended. One that stays (`pas up`) has no command and ends on
SIGTERM.
"""

import os
import socket
import sys
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

_SQLITE = "sqlite+aiosqlite:///"


def main(stays: bool, port: int) -> None:
    """Serve Prefect's API on a port of loopback.

    Args:
        stays: Whether to go on without a command, with Prefect's pages, its scheduler and the rest.
        port: 0 for any free one.
    """
    listening = socket.socket()
    if os.name == "posix":  # a port that was in use a moment ago
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"port {port}: {error.strerror}")
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    _say(address)
    if stays:
        os.environ["PREFECT_UI_API_URL"] = f"{address}/api"
    else:
        os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
        # What a flow of ours needs of blocks it registers itself; all of them take a second.
        os.environ.setdefault("PREFECT_API_BLOCKS_REGISTER_ON_START", "0")
    os.environ["PREFECT__SERVER_FINAL"] = "1"  # one app in this process: it starts faster
    import uvicorn
    from prefect.server.api.server import create_app

    if not stays and not sys.stdin.readline():
        return
    _ensure_database()
    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error"))
    Thread(target=_announce, args=(server, address, stays), daemon=True).start()
    if not stays:
        Thread(target=_end_with_command, args=(server,), daemon=True).start()
    server.run(sockets=[listening])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _announce(server: "uvicorn.Server", address: str, stays: bool) -> None:
    """Say when it is ready."""
    while not server.started:
        time.sleep(0.02)
    if stays:
        from flows.embedded import note_staying

        note_staying(address)
    _say("ready")


def _end_with_command(server: "uvicorn.Server") -> None:
    sys.stdin.read()
    server.should_exit = True


def _ensure_database() -> None:
    """Copy the database of a new home from one that is made once for each version of Prefect.

    Its many migrations take 6 s. Both files get their names when they are whole, so a kill or a
    full disk leaves nothing that a later start would take for a database.
    """
    import shutil

    import prefect
    from filelock import FileLock
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    from storage.settings import settings

    url = PREFECT_API_DATABASE_CONNECTION_URL.value() or ""
    file = Path(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or file.exists():
        return
    with FileLock(file.with_suffix(".lock")):
        if file.exists():
            return
        unfinished = file.with_suffix(".new")
        prepared = settings().cache_dir / f"prefect-{prefect.__version__}.db"
        try:
            _prepare(prepared)
            shutil.copyfile(prepared, unfinished)
            unfinished.rename(file)
        except OSError:  # such as a cache folder that is somebody else's
            _make_database(file)


def _prepare(prepared: Path) -> None:
    from filelock import FileLock

    if prepared.exists():
        return
    prepared.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(prepared.with_suffix(".lock")):
        if not prepared.exists():
            _make_database(prepared)


def _make_database(file: Path) -> None:
    import sqlite3
    import subprocess

    unfinished = file.with_suffix(".new")
    for left in file.parent.glob(f"{unfinished.name}*"):
        left.unlink()
    # In a process of its own: Prefect keeps to the first database that it has opened.
    made = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "--yes"],
        env=os.environ | {"PREFECT_API_DATABASE_CONNECTION_URL": f"{_SQLITE}{unfinished}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if made.returncode:
        sys.exit(made.stderr.strip() or "its database could not be made")
    database = sqlite3.connect(unfinished)
    database.execute("PRAGMA journal_mode = DELETE")  # takes the pages of the log into the file
    database.close()
    unfinished.rename(file)


if __name__ == "__main__":
    main("--stay" in sys.argv, int(sys.argv[1]))
