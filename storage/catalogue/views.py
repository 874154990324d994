"""The catalogue: DuckDB over the lake's Parquet files, and the estimator queries.

DuckDB keeps no file of its own: every connection is in memory and sees what the lake holds now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from pas.errors import UserError
from storage.catalogue.holding import key_table, shards_holding
from storage.catalogue.session import (
    explaining,
    load_sql,
    lock,
    open_session,
    quoted,
    reading,
    refuse_damaged,
    require_read_only,
    too_little_memory,
    uris,
)
from storage.lake.files import ACTIVATIONS_FOLDER
from storage.lake.tables import ACTIVATIONS, TABLES, RunTable, table_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.lake.files import Lake

VIEWS = (*TABLES, "activations")


class CacheStats(NamedTuple):
    """What the lake holds of one model's activations at one site."""

    fingerprint: str
    model_id: str
    site: str
    shards: int
    prompts: int
    layers: tuple[int, ...]
    bytes: int


@contextmanager
def connect(lake: Lake, *, memory_limit: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB with a view of each run table and of all activations.

    The view `activations` spans every model and site and may show a prompt once per shard that
    holds it: removing duplicates would mean grouping all vectors. `estimate` uses one.

    Args:
        lake: What to look at.
        memory_limit: DuckDB's limit, such as `4GB`, by default 1 GB; beyond it queries spill to a
            temporary folder.

    Raises:
        UserError: If DuckDB refuses the limit.
    """
    with open_session(lake, memory_limit) as connection:
        for table in TABLES.values():
            _create_view(connection, lake, table, table_folder(lake, table.name), "*.parquet")
        _create_view(connection, lake, ACTIVATIONS, ACTIVATIONS_FOLDER, "*/*/*.parquet")
        yield connection


def query(lake: Lake, sql: str, *, memory_limit: str | None = None) -> pa.Table:
    """Run one read-only statement of a user.

    Only the lake's own files can be read, nothing can be written, and no setting changed. The
    files of the run tables are verified, those of activations are not.

    Args:
        lake: What to query.
        sql: One SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN over the views.
        memory_limit: DuckDB's limit, such as `4GB`; 1 GB by default.

    Raises:
        UserError: For any other statement, and for a statement that DuckDB refuses.
    """
    with _answering(lake, sql, memory_limit) as answer:
        return answer.to_arrow_table()


def query_rows(
    lake: Lake, sql: str, *, memory_limit: str | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a statement as `query` does; return the names of the columns, and the rows."""
    with _answering(lake, sql, memory_limit) as answer:
        return answer.columns, answer.fetchall()


@contextmanager
def _answering(lake: Lake, sql: str, memory_limit: str | None) -> Iterator[duckdb.DuckDBPyRelation]:
    with connect(lake, memory_limit=memory_limit) as connection:
        lock(connection, lake)
        try:
            require_read_only(sql, VIEWS)
            # By their names: asked for the tables of a statement, DuckDB would wait for ever for
            # a file system of Python's.
            for name in (name for name in TABLES if name in sql.lower()):
                for address in lake.files(table_folder(lake, name)):
                    lake.require_undamaged(address)
            yield connection.sql(sql)
        except duckdb.OutOfMemoryException as error:
            raise too_little_memory(lake, error) from error
        except duckdb.Error as error:
            raise UserError(f"sql: {error}\nViews: {', '.join(VIEWS)}.") from error


def missing(
    lake: Lake, fingerprint: str, site: str, keys: Sequence[bytes], layers: Sequence[int]
) -> set[bytes]:
    """Return the prompts whose activation is missing at one or more of the layers.

    Args:
        lake: Where to look.
        fingerprint: The model; only its shards are read. Damaged ones are set aside.
        site: Where activations are read.
        keys: Prompt keys, 16 bytes each; duplicates are harmless.
        layers: Wanted layers.
    """
    import pyarrow as pa

    addresses = shards_holding(lake, fingerprint, site, keys)
    if not addresses:
        return set(keys)
    with open_session(lake) as connection, explaining(lake):
        connection.register("wanted", key_table("prompt_key", keys))
        connection.register(
            "layers", pa.table({"layer": pa.array(sorted(set(layers)), pa.int16())})
        )
        found = connection.sql(load_sql("missing"), params={"files": uris(lake, addresses)})
        return set(found.to_arrow_table()["prompt_key"].to_pylist())


def cache_stats(lake: Lake) -> list[CacheStats]:
    """Count the activations in the lake by model and site; damaged files are set aside."""
    from storage.lake.shards import parse_address, read_footer

    files = lake.files(ACTIVATIONS_FOLDER)
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for address in files:
        parts = parse_address(address)
        if parts:
            groups[parts[0], parts[1]].append(address)
    stats = []
    with open_session(lake) as connection:
        for (fingerprint, site), group in sorted(groups.items()):

            def count(
                addresses: list[str], fingerprint: str = fingerprint, site: str = site
            ) -> CacheStats | None:
                parameters = {"files": uris(lake, addresses)}
                [(prompts, layers)] = connection.sql(
                    load_sql("cache_stats"), params=parameters
                ).fetchall()
                model_id = str(read_footer(lake, addresses[0])["model"].get("id", ""))
                total = sum(files[address].size for address in addresses)
                held = (len(addresses), prompts, tuple(layers), total)
                return CacheStats(fingerprint, model_id, site, *held)

            counted = reading(lake, {a: files[a] for a in group}, count, None)
            stats += [counted] if counted else []
    return stats


def _create_view(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: RunTable, folder: str, pattern: str
) -> None:
    if not lake.list(folder):
        # DuckDB refuses a pattern that matches nothing.
        empty = ", ".join(f"NULL::{column.type} AS {column.name}" for column in table.columns)
        connection.execute(f"CREATE VIEW {table.name} AS SELECT {empty} WHERE false")
        return
    columns = ", ".join(column.name for column in table.columns)
    paths = quoted(f"{lake.uri()}/{folder}/{pattern}")
    try:
        connection.execute(load_sql("view").format(view=table.name, columns=columns, files=paths))
    except duckdb.Error:
        refuse_damaged(lake, folder)  # DuckDB opens one of the files for its columns
        raise
