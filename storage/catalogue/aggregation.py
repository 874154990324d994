"""The estimator's queries: which shards are read, then one aggregation per layer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from storage.catalogue.session import load_sql

if TYPE_CHECKING:
    import duckdb

DIRECTIONS = pa.schema(
    [
        ("method", pa.string()),
        ("layer", pa.int16()),
        ("direction", pa.list_(pa.float32())),
        ("norm", pa.float64()),
    ]
)

# The queries say which side of a join is kept in memory; guessing from row counts, DuckDB would
# keep the vectors.
_KEEP_JOIN_SIDES = "join_order,build_side_probe_side"
# A group of 16 bits and NULL: up to here DuckDB finds groups by index.
_POSITION_BITS = 17
# Every element is multiplied with the weights of all methods of a query, in buffers that DuckDB
# does not count: 40 methods at once were measured to take 330 MB more than 8.
_METHODS_AT_ONCE = 8


def choose_shards(
    connection: duckdb.DuckDBPyConnection,
    uris: Sequence[str],
    weights: pa.Table,
    layers: Sequence[int],
) -> int:
    """Fill the table `chosen`, reading no vectors.

    Returns:
        How many weighted prompts have all the layers.
    """
    if not uris:
        # DuckDB refuses an empty list of files.
        return 0
    connection.register("weights", weights)
    connection.execute(load_sql("chosen"), {"files": uris, "layers": layers})
    [(complete,)] = connection.execute(
        "SELECT count(*) FROM (SELECT prompt_key FROM chosen GROUP BY ALL HAVING count(*) = $n)",
        {"n": len(layers)},
    ).fetchall()
    return int(complete)


def aggregate(
    connection: duckdb.DuckDBPyConnection,
    uris: Sequence[str],
    weights: pa.Table,
    layers: Sequence[int],
    workers: int,
) -> pa.Table:
    """Return directions of all methods at the layers, after `choose_shards` over the same shards.

    Args:
        connection: A session of one thread: a query then runs in the thread that asks for it, and
            adds in one order.
        uris: The shards.
        weights: Those given to `choose_shards`.
        layers: Distinct layers.
        workers: Layers aggregated at once.
    """
    connection.execute(f"SET GLOBAL disabled_optimizers = '{_KEEP_JOIN_SIDES}'")
    connection.execute(f"SET GLOBAL perfect_ht_threshold = {_POSITION_BITS}")
    methods = sorted(set(weights["method"].to_pylist()))
    parts: list[pa.Table] = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(methods), _METHODS_AT_ONCE):
            names = pa.array(methods[start : start + _METHODS_AT_ONCE])
            connection.register("weights", weights.filter(pc.is_in(weights["method"], names)))
            connection.execute(load_sql("weights_by_prompt"))
            parts += pool.map(lambda layer: _aggregate_layer(connection, uris, layer), layers)
    return pa.concat_tables(parts)


def _aggregate_layer(
    connection: duckdb.DuckDBPyConnection, uris: Sequence[str], layer: int
) -> pa.Table:
    with connection.cursor() as cursor:
        shards = cursor.execute(
            "SELECT DISTINCT shard FROM chosen WHERE layer = $layer ORDER BY shard",
            {"layer": layer},
        ).fetchall()
        files = [uris[shard] for (shard,) in shards]
        [(width,)] = cursor.execute(
            "SELECT len(vector) FROM read_parquet($files, hive_partitioning = false) LIMIT 1",
            {"files": files[:1]},
        ).fetchall()
        parameters = {"files": files, "layer": layer, "width": width}
        return cursor.sql(load_sql("estimate"), params=parameters).to_arrow_table().cast(DIRECTIONS)
