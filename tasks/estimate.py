"""Estimate: one DuckDB aggregation over the shards for every method and layer."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pas.data.prompts import encode
from pas.methods.contrast import RANDOM, contrast_sets
from pas.methods.estimate import contrast_weights as weights_of
from pas.methods.estimate import with_random
from pas.methods.grid import Directions
from pas.recipe import Recipe
from storage.catalogue.estimate import estimate as aggregate
from storage.lake.stages import Stage, read_split, stage
from storage.settings import settings
from tasks import resources
from tasks.caching import step
from tasks.predict import answered

_SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("layer", pa.int16()),
        ("site", pa.string()),
        ("direction", pa.list_(pa.float32())),
        ("norm", pa.float64()),
    ]
)


def contrast_weights(recipe: Recipe, split: str, predictions: str) -> pa.Table:
    """Return rows (method, prompt_key, weight): +1/n of positives, -1/n of negatives.

    A prompt that occurs several times has its weights added up.
    """
    info, kind = resources.model_info(recipe.model), resources.resolved(recipe).rule.kind
    parts = read_split(resources.lake(), split)
    items = answered(parts, predictions)
    sets = contrast_sets(recipe.estimators, items, kind, resources.chat(recipe))
    texts = {text for contrast in sets.values() for side in contrast for text in side}
    weights = weights_of(sets, {text: encode(info, text).key for text in texts})
    return pa.table(
        {
            "method": pa.array([method for method, _ in weights], pa.string()),
            "prompt_key": pa.array([key for _, key in weights], pa.binary(16)),
            "weight": pa.array(list(weights.values()), pa.float64()),
        }
    )


def vectors_stage(recipe: Recipe, split: str, predictions: str) -> Stage:
    """Return where the vectors of a split's training items are stored.

    What counts of the split and the predictions is which prompt gets which weight.
    """
    weights, setup = contrast_weights(recipe, split, predictions), resources.resolved(recipe)
    content = hashlib.blake2b(digest_size=16)
    for column in weights.columns:
        content.update(repr(column.to_pylist()).encode())
    return stage(
        resources.lake(),
        "vectors",
        model=setup.fingerprint,
        site=recipe.site,
        weights=content.hexdigest(),
        read_layers=setup.read_layers,
        write_layers=setup.write_layers,
        random=RANDOM in recipe.methods,
        seed=recipe.seed,
    )


@step("estimate", address=vectors_stage)
def estimate(recipe: Recipe, split: str, predictions: str) -> pa.Table:
    """Aggregate every vector: rows (method, layer, site, direction, norm).

    `layer` is where the vector is written. The random control's direction at a layer has the
    mean norm of the estimated ones there.
    """
    setup = resources.resolved(recipe)
    rows = aggregate(
        resources.lake(),
        setup.fingerprint,
        recipe.site,
        contrast_weights(recipe, split, predictions),
        setup.read_layers,
        memory_limit=settings().memory_limit,
    ).to_pylist()
    written_at = dict(zip(setup.read_layers, setup.write_layers, strict=True))
    directions = _directions([row | {"layer": written_at[row["layer"]]} for row in rows])
    if RANDOM in recipe.methods:
        directions = with_random(directions, recipe.seed)
    return pa.Table.from_pylist(
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
        schema=_SCHEMA,
    )


def read_directions(address: str) -> Directions:
    """Read what `estimate` wrote."""
    return _directions(resources.lake().read_table(address).to_pylist())


def _directions(rows: Sequence[Mapping[str, Any]]) -> Directions:
    return Directions(
        {(r["method"], r["layer"]): np.asarray(r["direction"], np.float32) for r in rows},
        {(r["method"], r["layer"]): r["norm"] for r in rows},
    )
