"""Whether a SQLite file of the home is whole, before a library opens it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from pas.errors import UserError

_PATIENCE = 5.0  # seconds for another process to let go of the file
_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")
_RIGHTS = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")


def damage(file: Path, *, writing: bool = False) -> str | None:
    """Return what is wrong with a database that alembic has made, None for nothing.

    Its pages are read, 2 ms for a megabyte; what the rows say is not looked at.

    Args:
        file: Exists.
        writing: Also see that it can be written now.

    Raises:
        UserError: If another process has locked it, or it may not be opened.
    """
    try:
        # Not read-only: what a killed writer has left is rolled back first.
        uri = f"{file.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as database:
            if writing:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
            [found, *_] = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                return str(found).splitlines()[-1]
            tables = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")
            return None if tables.fetchone() else "it has no tables of ours"
    except sqlite3.DatabaseError as error:
        kind = getattr(error, "sqlite_errorname", "")
        if kind.startswith(_LOCKED):
            raise UserError(
                f"{file} is locked by another process for more than {_PATIENCE:g} s: wait for it, "
                f"or end it (fuser {file} names it)"
            ) from error
        if kind.startswith(_RIGHTS):
            raise UserError(
                f"{file} cannot be opened ({error}): change its owner or rights, or set PAS_HOME "
                "to a folder that you may write to"
            ) from error
        return str(error)


def revision(file: Path) -> str | None:
    """Return the revision of a whole database's schema; None if it has none."""
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as database:
        found = database.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if found is None else str(found[0])


def set_aside(file: Path) -> Path:
    """Rename a database, with its logs, so that a new one may take its place; return its new name.

    A database that was set aside before stays.
    """
    number = 1
    while (aside := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    for ending in ("-wal", "-shm", "-journal"):
        log = file.with_name(file.name + ending)
        if log.exists():
            log.rename(aside.with_name(aside.name + ending))
    file.rename(aside)
    return aside
