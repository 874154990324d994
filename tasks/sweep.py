"""Sweep: every (method, layer, strength) on the validation items."""

import numpy as np
import pyarrow as pa

from pas.methods.grid import Directions, grid
from pas.recipe import Recipe
from storage.lake.stages import Stage, read_split, stage
from tasks import resources
from tasks.answers import VALIDATION, answer_items, answers_table
from tasks.caching import step


def read_directions(address: str) -> Directions:
    """Read what `estimate` wrote."""
    rows = resources.lake().read_table(address).to_pylist()
    keys = [(row["method"], row["layer"]) for row in rows]
    return Directions(
        {k: np.asarray(r["direction"], np.float32) for k, r in zip(keys, rows, strict=True)},
        {k: r["norm"] for k, r in zip(keys, rows, strict=True)},
    )


def sweep_stage(recipe: Recipe, split: str, vectors: str) -> Stage:
    """Return where the sweep's answers are stored."""
    setup = resources.resolved(recipe)
    return stage(
        resources.lake(),
        "sweeps",
        model=setup.fingerprint,
        rule=setup.rule.name,
        split=split,
        vectors=vectors,
        strengths=setup.strengths,
        **resources.decided_by(recipe),
    )


@step("sweep", address=sweep_stage)
def sweep(recipe: Recipe, split: str, vectors: str) -> pa.Table:
    """Answer every validation item in every configuration."""
    directions = read_directions(vectors)
    deltas = directions.deltas(grid(directions, resources.resolved(recipe).strengths))
    val = read_split(resources.lake(), split).val
    return answers_table({VALIDATION: answer_items(recipe, val, deltas, normalise=False)})
