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
from storage.catalogue.session import (
    load_sql,
    lock,
    naming_broken_shards,
    open_session,
    quoted,
    require_read_only,
    uris,
)
from storage.lake.tables import ACTIVATIONS, TABLES, RunTable

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
            _create_view(connection, lake, table, lake.address("tables", table.name), "*.parquet")
        _create_view(connection, lake, ACTIVATIONS, "activations", "*/*/*.parquet")
        yield connection


def query(lake: Lake, sql: str, *, memory_limit: str | None = None) -> pa.Table:
    """Run one read-only statement of a user.

    Only the lake's own files can be read, nothing can be written, and no setting changed.

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
            yield connection.sql(sql)
        except duckdb.Error as error:
            raise UserError(f"sql: {error}\nViews: {', '.join(VIEWS)}.") from error


def missing(
    lake: Lake, fingerprint: str, site: str, keys: Sequence[bytes], layers: Sequence[int]
) -> set[bytes]:
    """Return the prompts whose activation is missing at one or more of the layers.

    Args:
        lake: Where to look.
        fingerprint: The model; only its shards are read, and no vectors.
        site: Where activations are read.
        keys: Prompt keys, 16 bytes each; duplicates are harmless.
        layers: Wanted layers.
    """
    import pyarrow as pa

    from storage.lake.shards import shard_folder

    wanted = pa.table({"prompt_key": pa.array(sorted(set(keys)), pa.binary(16))})
    addresses = lake.list(shard_folder(lake, fingerprint, site))
    if not addresses:
        return set(keys)
    with open_session(lake) as connection, naming_broken_shards(lake, addresses):
        connection.register("wanted", wanted)
        connection.register(
            "layers", pa.table({"layer": pa.array(sorted(set(layers)), pa.int16())})
        )
        found = connection.sql(load_sql("missing"), params={"files": uris(lake, addresses)})
        return set(found.to_arrow_table()["prompt_key"].to_pylist())


def cache_stats(lake: Lake) -> list[CacheStats]:
    """Return the activations in the lake, counted by model and site."""
    from storage.lake.shards import parse_address, read_footer

    sizes = lake.sizes("activations")
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for address in sorted(sizes):
        parts = parse_address(address)
        if parts:
            groups[parts[0], parts[1]].append(address)
    stats = []
    with open_session(lake) as connection:
        for (fingerprint, site), addresses in sorted(groups.items()):
            with naming_broken_shards(lake, addresses):
                found = connection.sql(
                    load_sql("cache_stats"), params={"files": uris(lake, addresses)}
                )
                prompts, layers = found.fetchall()[0]
                model_id = str(read_footer(lake, addresses[0])["model"].get("id", ""))
            total = sum(sizes[address] for address in addresses)
            held = (len(addresses), prompts, tuple(layers), total)
            stats.append(CacheStats(fingerprint, model_id, site, *held))
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
    connection.execute(load_sql("view").format(view=table.name, columns=columns, files=paths))
