"""Estimate: one DuckDB aggregation over the shards for every method and layer."""

import hashlib

import pyarrow as pa

from pas.data.prompts import encode
from pas.methods.contrast import RANDOM, contrast_sets, random_direction
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
    weights: dict[tuple[str, bytes], float] = {}
    for method, contrast in contrast_sets(recipe.estimators, items, recipe.rule.kind).items():
        for sign, texts in ((1.0, contrast.positives), (-1.0, contrast.negatives)):
            for text in texts:
                key = (method, encode(info, text).key)
                weights[key] = weights.get(key, 0.0) + sign / len(texts)
    ordered = sorted(weights.items())
    return pa.table(
        {
            "method": pa.array([method for (method, _), _ in ordered], pa.string()),
            "prompt_key": pa.array([key for (_, key), _ in ordered], pa.binary(16)),
            "weight": pa.array([weight for _, weight in ordered], pa.float64()),
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
    found = aggregate(
        lake, info.fingerprint, recipe.site, weights, read_layers(recipe),
        memory_limit=settings().memory_limit,
    ).to_pylist()  # fmt: skip
    written_at = dict(zip(read_layers(recipe), write_layers(recipe), strict=True))
    rows = [row | {"layer": written_at[row["layer"]]} for row in found]
    if RANDOM in recipe.methods:
        for layer in write_layers(recipe):
            norms = [row["norm"] for row in rows if row["layer"] == layer]
            norm = sum(norms) / len(norms)
            seed = f"sweep:{recipe.seed}:{layer}"
            direction = random_direction(info.d_model, norm, seed).tolist()
            rows.append({"method": RANDOM, "layer": layer, "direction": direction, "norm": norm})
    schema = pa.schema(
        [
            pa.field("method", pa.string()),
            pa.field("layer", pa.int16()),
            pa.field("site", pa.string()),
            pa.field("direction", pa.list_(pa.float32())),
            pa.field("norm", pa.float64()),
        ]
    )
    table = pa.Table.from_pylist([row | {"site": recipe.site} for row in rows], schema=schema)
    return lake.write_table(address, table)
