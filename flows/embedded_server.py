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
from threading import Event, Thread
from typing import TYPE_CHECKING

from pas.errors import UserError
from storage.sqlite import damage, revision

if TYPE_CHECKING:
    import uvicorn

_SQLITE = "sqlite+aiosqlite:///"
_NOTE = "note: "  # how a line begins that the command is to log


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
    wanted, running = Event(), list["uvicorn.Server"]()
    if not stays:
        Thread(target=_follow_command, args=(wanted, running), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_API_DATABASE_MIGRATE_ON_START, temporary_settings

    app = create_app()
    if not stays:
        wanted.wait()
    try:
        migrated = _ensure_database()
    except (OSError, UserError) as error:
        sys.exit(str(error))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    Thread(target=_announce, args=(server, address, stays), daemon=True).start()
    running.append(server)
    # To see that nothing is to be migrated takes Alembic half a second.
    known = {PREFECT_API_DATABASE_MIGRATE_ON_START: False} if migrated else {}
    with temporary_settings(known):
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


def _follow_command(wanted: Event, running: "list[uvicorn.Server]") -> None:
    """Begin with the command's line, and end with its input, also in the middle of the imports.

    Args:
        wanted: Is set when the server may open its database.
        running: The server, once there is one.
    """
    # Not `sys.stdin`, whose lock a thread that reads would keep from the end of the process.
    if os.read(0, 1):
        wanted.set()
        while os.read(0, 4096):
            pass
    if running:
        running[0].should_exit = True
    else:
        os._exit(0)


def _ensure_database() -> bool:
    """See that the home has a database that is whole and of this version of Prefect.

    One of another version is migrated. That fails where an earlier migration was cut off, such as
    by a full disk: some of its steps are not undone.

    A new one is copied from one that is made once for each version: its many migrations take 6 s.
    Both files get their names when they are whole, so a kill or a full disk leaves nothing that a
    later start would take for a database. One that is damaged is set aside: all that it holds are
    runs that have been.

    Returns:
        Whether its version is known to be Prefect's. It is not on a server of databases, nor where
        the cache folder cannot be used; Prefect then looks itself.
    """
    import shutil

    from filelock import FileLock
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    from storage.sqlite import set_aside

    url = PREFECT_API_DATABASE_CONNECTION_URL.value() or ""
    if not url.startswith(_SQLITE):
        return False
    file, prepared = Path(url.removeprefix(_SQLITE)), _prepared()
    if _is_ready(file, prepared):
        return prepared is not None
    with FileLock(file.with_suffix(".lock")):
        if _is_ready(file, prepared):
            return prepared is not None
        if file.exists():
            reason = damage(file) or _migrate(file)
            if reason is None:
                return True
            aside = set_aside(file)
            _say(f"{_NOTE}Prefect's database was damaged ({reason}): it is now {aside}, and a new "
                 "one takes its place; nothing that pas needs is lost")  # fmt: skip
        if prepared is None:
            _make_database(file)
        else:
            unfinished = file.with_suffix(".new")
            shutil.copyfile(prepared, unfinished)
            unfinished.rename(file)
    return True


def _is_ready(file: Path, prepared: Path | None) -> bool:
    """Whether a home's database is whole and has the schema of this version of Prefect."""
    if not file.exists() or damage(file, writing=True) is not None:
        return False
    return prepared is None or revision(file) == revision(prepared)


def _prepared() -> Path | None:
    """Return the database to copy; None where the cache folder cannot be used."""
    import errno

    import prefect
    from filelock import FileLock

    from storage.settings import settings

    prepared = settings().cache_dir / f"prefect-{prefect.__version__}.db"
    try:
        if not prepared.exists() or damage(prepared) is not None:
            prepared.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(prepared.with_suffix(".lock")):
                if not prepared.exists() or damage(prepared) is not None:
                    _make_database(prepared)
    except UserError:  # it may not be read
        return None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return None
    return prepared


def _make_database(file: Path) -> None:
    import sqlite3

    unfinished = file.with_suffix(".new")
    for left in file.parent.glob(f"{unfinished.name}*"):
        left.unlink()
    reason = _migrate(unfinished)
    if reason is not None:
        raise OSError(f"{file.parent}: {reason}")
    database = sqlite3.connect(unfinished)
    database.execute("PRAGMA journal_mode = DELETE")  # takes the pages of the log into the file
    database.close()
    unfinished.rename(file)


def _migrate(file: Path) -> str | None:
    """Bring a database to the schema of this version of Prefect; return why that failed."""
    import subprocess

    # In a process of its own: Prefect keeps to the first database that it has opened.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "--yes"],
        env=os.environ | {"PREFECT_API_DATABASE_CONNECTION_URL": f"{_SQLITE}{file}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if not done.returncode:
        return None
    # The traceback ends with advice of SQLAlchemy; the error's own line begins with its name.
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.partition(":")[0]]
    return [*errors, *lines[-1:], "its migration failed"][0]


if __name__ == "__main__":
    main("--stay" in sys.argv, int(sys.argv[1]))
