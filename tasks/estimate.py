"""Estimate: one DuckDB aggregation over the shards for every method and layer."""

import hashlib

import numpy as np
import pyarrow as pa

from pas.data.prompts import encode
from pas.methods.contrast import RANDOM, contrast_sets
from pas.methods.estimate import contrast_weights as weights_of
from pas.methods.estimate import with_random
from pas.methods.grid import Directions
from pas.recipe import Recipe
from storage.catalogue.estimate import estimate as aggregate
from storage.lake.stages import read_split, stage_address
from storage.settings import settings
from tasks import resources
from tasks.caching import step
from tasks.extract import read_layers, write_layers
from tasks.predict import answered


def contrast_weights(recipe: Recipe, split_address: str, predictions: str) -> pa.Table:
    """Return rows (method, prompt_key, weight): +1/n of positives, -1/n of negatives.

    A prompt that occurs several times has its weights added up.
    """
    info = resources.model_info(recipe.spec)
    parts = read_split(resources.lake(), split_address)
    items = answered(parts, predictions)
    sets = contrast_sets(recipe.estimators, items, recipe.rule.kind)
    texts = {text for contrast in sets.values() for side in contrast for text in side}
    weights = weights_of(sets, {text: encode(info, text).key for text in texts})
    return pa.table(
        {
            "method": pa.array([method for method, _ in weights], pa.string()),
            "prompt_key": pa.array([key for _, key in weights], pa.binary(16)),
            "weight": pa.array(list(weights.values()), pa.float64()),
        }
    )


def vectors_address(recipe: Recipe, weights: pa.Table) -> str:
    """Return where the vectors of these weights lie, or will."""
    content = hashlib.blake2b(digest_size=16)
    for column in weights.columns:
        content.update(repr(column.to_pylist()).encode())
    return stage_address(
        resources.lake(), "vectors", resources.model_info(recipe.spec).fingerprint, recipe.site,
        content.hexdigest(), read_layers(recipe), write_layers(recipe), RANDOM in recipe.methods,
        recipe.seed,
    )  # fmt: skip


@step("estimate")
def estimate(recipe: Recipe, split_address: str, predictions: str, address: str) -> str:
    """Aggregate every vector: rows (method, layer, site, direction, norm) at `address`.

    `layer` is where the vector is written. The random control's direction at a layer has the
    mean norm of the estimated ones there.
    """
    lake, info = resources.lake(), resources.model_info(recipe.spec)
    weights = contrast_weights(recipe, split_address, predictions)
    rows = aggregate(
        lake, info.fingerprint, recipe.site, weights, read_layers(recipe),
        memory_limit=settings().memory_limit,
    ).to_pylist()  # fmt: skip
    written_at = dict(zip(read_layers(recipe), write_layers(recipe), strict=True))
    keys = [(row["method"], written_at[row["layer"]]) for row in rows]
    directions = Directions(
        {k: np.asarray(row["direction"], np.float32) for k, row in zip(keys, rows, strict=True)},
        {k: row["norm"] for k, row in zip(keys, rows, strict=True)},
    )
    if RANDOM in recipe.methods:
        directions = with_random(directions, recipe.seed)
    schema = pa.schema(
        [
            pa.field("method", pa.string()),
            pa.field("layer", pa.int16()),
            pa.field("site", pa.string()),
            pa.field("direction", pa.list_(pa.float32())),
            pa.field("norm", pa.float64()),
        ]
    )
    table = pa.Table.from_pylist(
        [
            {
                "method": method,
                "layer": layer,
                "site": recipe.site,
                "direction": direction,
                "norm": directions.norm[method, layer],
            }
            for (method, layer), direction in directions.direction.items()
        ],
        schema=schema,
    )
    return lake.write_table(address, table)
