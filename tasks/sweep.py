"""Sweep: every (method, layer, strength) on the validation items."""

import numpy as np

from pas.methods.grid import Directions, grid
from pas.recipe import Recipe
from storage.lake.stages import read_split, stage_address
from tasks import resources
from tasks.answers import VALIDATION, answer_items, write_answers
from tasks.caching import step


def read_directions(address: str) -> Directions:
    """Read what `estimate` wrote."""
    rows = resources.lake().read_table(address).to_pylist()
    keys = [(row["method"], row["layer"]) for row in rows]
    return Directions(
        {k: np.asarray(r["direction"], np.float32) for k, r in zip(keys, rows, strict=True)},
        {k: r["norm"] for k, r in zip(keys, rows, strict=True)},
    )


def sweep_address(recipe: Recipe, split_address: str, vectors: str) -> str:
    """Return where the sweep's answers are stored, or will be."""
    return stage_address(
        resources.lake(),
        "sweeps",
        resources.model_info(recipe.spec).fingerprint,
        recipe.rule.name,
        split_address,
        vectors,
        recipe.grid_strengths,
    )


@step("sweep")
def sweep(recipe: Recipe, split_address: str, vectors: str, address: str) -> str:
    """Answer every validation item in every configuration; answers at `address`."""
    directions = read_directions(vectors)
    deltas = directions.deltas(grid(directions, recipe.grid_strengths))
    val = read_split(resources.lake(), split_address).val
    answers = answer_items(recipe, val, deltas, normalise=False)
    return write_answers(address, {VALIDATION: answers})
