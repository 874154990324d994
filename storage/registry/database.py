"""The file of an embedded MLflow store, looked at before MLflow, which takes long to import."""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from pas.errors import UserError
from storage.settings import Registry
from storage.sqlite import damage


def database_file(registry: Registry) -> Path | None:
    """Return the file of a SQLite store; None for another store."""
    scheme, _, place = registry.tracking_uri.partition(":///")
    if not scheme.startswith("sqlite"):
        return None
    return Path(place.partition("?")[0] or "mlflow.db")


@cache
def check_database(file: Path, *, writing: bool = False) -> None:
    """See once in a process that an existing database is whole and not locked.

    MLflow would make its tables in an empty file, and no version would be known any more.

    Args:
        file: Exists.
        writing: Also see that it can be written now.

    Raises:
        UserError: If it is not. Nothing is changed, as it holds all that is registered.
    """
    reason = damage(file, writing=writing)
    if reason is not None:
        raise UserError(
            f"MLflow's database {file} is damaged ({reason}). It holds what is registered, so it "
            "was left as it is: restore it from a backup, or move it away to begin with an empty "
            "registry"
        )


def has_open_runs(file: Path) -> bool:
    """Whether an existing database has runs that have not ended.

    Raises:
        UserError: If the database is damaged or locked.
    """
    check_database(file)
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as database:
        found = database.execute("SELECT 1 FROM runs WHERE status = 'RUNNING' LIMIT 1")
        return found.fetchone() is not None
