"""DuckDB sessions over a lake: settings, the lock for users' SQL, errors, and the SQL files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

import duckdb

from pas.errors import UserError

if TYPE_CHECKING:
    from storage.lake.files import FileVersion, Lake

T = TypeVar("T")

# DuckDB's own default is 80 % of the machine, also where a model or another run needs it. Queries
# over vectors stream; what outgrows this (joins, groups, sorts) spills. The limit does not cover
# the reader's buffers and results, nor the process, which is about 300 MB once torch is imported.
DEFAULT_MEMORY_LIMIT = "1GB"

_EXPLAIN = re.compile(r"explain\s+(analyze\s+)?(?P<inner>.*)", re.IGNORECASE | re.DOTALL)


@contextmanager
def open_session(
    lake: Lake, memory_limit: str | None = None, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB that can read the lake and takes names from SQL alone.

    Args:
        lake: Its file system is registered with DuckDB.
        memory_limit: DuckDB's limit, such as `4GB`, by default 1 GB; beyond it queries spill to a
            temporary folder.
        threads: DuckDB's threads; all cores by default.

    Raises:
        UserError: If DuckDB refuses the limit or the number of threads.
    """
    with tempfile.TemporaryDirectory(prefix="pas-duckdb-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": spill,
            "memory_limit": memory_limit or DEFAULT_MEMORY_LIMIT,
            # A misspelt view must be an error, never a Python variable of the caller.
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if threads is not None:
            config["threads"] = threads
        try:
            connection = duckdb.connect(":memory:", config=config)
        except duckdb.Error as error:
            raise UserError(
                f"PAS_MEMORY_LIMIT {memory_limit!r} with {threads or 'all'} threads: {error}; give "
                "a size such as 2GB"
            ) from error
        with connection:
            # One query per layer would read every footer again.
            connection.execute("SET parquet_metadata_cache = true")
            if not lake.is_local:
                connection.register_filesystem(lake.fs)
            yield connection


def lock(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Let the connection read only the lake's files; this cannot be undone.

    DuckDB compares paths: it resolves `..` in local ones, and object stores do not know it. A
    remote file system that does, such as SFTP, would follow it out of the lake.
    """
    connection.execute(f"SET allowed_directories = [{quoted(lake.uri() + '/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def require_read_only(sql: str, views: Sequence[str]) -> None:
    """Refuse anything but one reading statement.

    Raises:
        UserError: Naming the views that can be read.
        duckdb.Error: If the text is no SQL.
    """
    statements = duckdb.extract_statements(sql)
    kinds = [statement.type for statement in statements]
    if kinds == [duckdb.StatementType.EXPLAIN]:
        # EXPLAIN ANALYZE runs what it explains.
        inner = _EXPLAIN.fullmatch(sql.strip())
        kinds = [s.type for s in duckdb.extract_statements(inner["inner"])] if inner else []
    if kinds != [duckdb.StatementType.SELECT]:
        raise UserError(
            "sql: give exactly one SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN SELECT; the lake "
            f"is read-only here. Views: {', '.join(views)}."
        )


def quoted(text: str) -> str:
    """Return the text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@cache
def load_sql(name: str) -> str:
    """A statement of `storage/catalogue/sql`."""
    return (files("storage.catalogue") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def explaining(lake: Lake) -> Iterator[None]:
    """Within the context a query for which the memory limit is too small says so.

    Raises:
        UserError: Naming the limit.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise too_little_memory(lake, error) from error


def too_little_memory(lake: Lake, error: duckdb.OutOfMemoryException) -> UserError:
    """Return the error of a query for which DuckDB's memory limit is too small."""
    return UserError(
        f"lake {lake.name}: DuckDB's memory limit is too small for this query "
        f"({str(error).splitlines()[0]}). Set a larger PAS_MEMORY_LIMIT, such as 2GB."
    )


def refuse_damaged(lake: Lake, folder: str) -> None:
    """Read every file of a folder whole.

    Raises:
        DamagedError: Naming the first that is damaged.
    """
    from storage.lake.files import DamagedError
    from storage.lake.verification import verify

    for address in lake.files(folder):
        report = verify(lake, address)
        if not report.ok:
            raise DamagedError(lake, address, report.reason)


def reading(
    lake: Lake, files: Mapping[str, FileVersion], query: Callable[[list[str]], T], none: T
) -> T:
    """Return what a query over files returns; if it fails, without those that are damaged.

    Args:
        lake: Where the files are; damaged ones are set aside.
        files: Address and version of each.
        query: Takes addresses, at least one.
        none: The answer for no files.

    Raises:
        UserError: If DuckDB's memory limit is too small.
    """
    from storage.lake.verification import intact_files

    left = [*files]
    with explaining(lake):
        try:
            return query(left) if left else none
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.Error, ValueError):
            left = intact_files(lake, files)
            if len(left) == len(files):
                raise
        return query(left) if left else none


def uris(lake: Lake, addresses: Sequence[str]) -> list[str]:
    """Return what DuckDB opens for each address."""
    return [lake.uri(address) for address in addresses]
