"""Vectors of all methods and layers, aggregated from the shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pas.methods.grid import not_finite_direction
from storage.catalogue.aggregation import DIRECTIONS, aggregate, choose_shards
from storage.catalogue.holding import shards_holding
from storage.catalogue.session import explaining, open_session, uris

if TYPE_CHECKING:
    from storage.lake.files import Lake


WEIGHTS = pa.schema(
    [("method", pa.string()), ("prompt_key", pa.binary(16)), ("weight", pa.float64())]
)


_MOST_WORKERS = 4


def estimate(
    lake: Lake,
    fingerprint: str,
    site: str,
    weights: pa.Table,
    layers: Sequence[int],
    *,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Aggregate activations into the directions of all methods: `sum(weight * activation)`.

    Sums are in DOUBLE with compensated rounding. A prompt in several shards counts once.
    Shards without a weighted prompt are opened for their keys only, damaged ones are set aside.
    Vectors stream from disk: what grows with the number of prompts is their keys, weights and shard
    numbers.

    Args:
        lake: Where the shards are.
        fingerprint: The model.
        site: Where activations were read.
        weights: `method VARCHAR, prompt_key BINARY(16), weight DOUBLE`. A prompt that occurs twice
            in a method counts with the sum of its weights.
        layers: Layers to estimate at.
        memory_limit: DuckDB's limit, such as `4GB`; 1 GB by default.
        threads: Layers aggregated at once; by default one per core, at most 4. A layer is always
            summed by one thread in one order, so the same shards give the same bits, whatever
            the number of threads (cut into other shards, the last bit of a value may differ).

    Returns:
        `method VARCHAR, layer INT16, direction LIST<FLOAT> [d_model], norm DOUBLE` (L2), ordered
        by method and layer.

    Raises:
        UserError: If a direction is not finite; the message names the method and the layer.
        ValueError: If a weight, key or method is NULL, or `threads` is below 1.
        LookupError: If a weighted prompt has no activation at one of the layers.
    """
    weights = weights.select(WEIGHTS.names).cast(WEIGHTS)
    if any(column.null_count for column in weights.columns):
        raise ValueError("weights with NULLs")
    wanted = sorted(set(layers))
    if not len(weights) or not wanted:
        return DIRECTIONS.empty_table()
    keys = pc.unique(weights["prompt_key"]).to_pylist()
    files = uris(lake, shards_holding(lake, fingerprint, site, keys))
    workers = min(os.cpu_count() or 1, _MOST_WORKERS) if threads is None else threads
    with open_session(lake, memory_limit, threads=1) as connection, explaining(lake):
        lacking = len(keys) - choose_shards(connection, files, weights, wanted)
        if lacking:
            raise LookupError(
                f"{lacking} of {len(keys)} weighted prompts have no {site} activation of model "
                f"{fingerprint} at every layer of {wanted}; extract them first"
            )
        found = aggregate(connection, files, weights, wanted, workers)
    bad = found.filter(pc.invert(pc.is_finite(found["norm"]))).sort_by("layer").to_pylist()
    if bad:
        raise not_finite_direction(bad[0]["method"], bad[0]["layer"])
    return found.sort_by([("method", "ascending"), ("layer", "ascending")])
