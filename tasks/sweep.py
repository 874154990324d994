"""Sweep: every (method, layer, strength) on the validation items, and the choice among them."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from pas.data.examples import Example
from pas.engine.prefix import Steering
from pas.engine.sweep import score_rows
from pas.methods.grid import Cell, Configuration
from pas.models.sites import Site
from pas.recipe import Recipe
from storage.lake.stages import read_split, stage_address
from tasks import resources
from tasks.caching import step
from tasks.extract import question

UNSTEERED = "none"
VALIDATION = "val"
PREDICTIONS = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("method", pa.string()),
        pa.field("layer", pa.int16()),
        pa.field("strength", pa.float64()),
        pa.field("condition", pa.string()),
        pa.field("choice", pa.int32()),
        pa.field("label", pa.int32()),
        pa.field("scores", pa.list_(pa.float64())),
    ]
)
"""One answer: `condition` tells apart what the test split is evaluated under."""


class Directions(NamedTuple):
    """The vectors of a training, by method and layer: [d_model] float32 and L2 norm."""

    direction: dict[tuple[str, int], np.ndarray]
    norm: dict[tuple[str, int], float]


def read_directions(address: str) -> Directions:
    """Read what `estimate` wrote."""
    rows = resources.lake().read_table(address).to_pylist()
    keys = [(row["method"], row["layer"]) for row in rows]
    return Directions(
        {k: np.asarray(r["direction"], np.float32) for k, r in zip(keys, rows, strict=True)},
        {k: r["norm"] for k, r in zip(keys, rows, strict=True)},
    )


def grid(recipe: Recipe, directions: Directions) -> list[Configuration]:
    """Return every cell of the sweep, strength 0 included where the protocol has it."""
    return [
        Configuration(method, layer, strength)
        for method, layer in sorted(directions.direction)
        for strength in recipe.grid_strengths
    ]


def score_configurations(
    recipe: Recipe,
    examples: tuple[Example, ...],
    deltas: list[tuple[Configuration, np.ndarray]],
    condition: str,
    site: Site | None = None,
) -> list[dict[str, Any]]:
    """Answer items unsteered and under each (configuration, [d_model] delta).

    Args:
        recipe: Whose model answers, scored by its rule.
        examples: The items.
        deltas: Strength multiplied in.
        condition: What the rows are marked with; letters' scores are log-probabilities over the
            vocabulary except where it is "val", in the sweep, which would take twice as long.
        site: Where the deltas are added, the recipe's if not given.

    Returns:
        Rows of `PREDICTIONS`; those of the unsteered model have the method "none".
    """
    ready = [question(recipe, example) for example in examples]
    rows = [Steering(at.layer, torch.from_numpy(delta)) for at, delta in deltas]
    model = resources.model(recipe.spec)
    scores = score_rows(
        model, ready, rows, site or recipe.site, normalise=condition != VALIDATION,
        length_norm=recipe.rule.length_norm, budget=resources.budget(model, ready),
    )  # fmt: skip
    unsteered = (UNSTEERED, None, 0.0)
    found = []
    for example, table in zip(examples, scores, strict=True):
        for at, values in zip((unsteered, *(at for at, _ in deltas)), table.tolist(), strict=True):
            found.append(
                {
                    "item_id": example.id, "method": at[0], "layer": at[1], "strength": at[2],
                    "condition": condition, "choice": int(np.argmax(values)),
                    "label": example.label, "scores": values,
                }
            )  # fmt: skip
    return found


def sweep_address(recipe: Recipe, split_address: str, vectors: str) -> str:
    """Return where the sweep's predictions lie, or will."""
    return stage_address(
        resources.lake(), "sweeps", resources.model_info(recipe.spec).fingerprint, recipe.rule.name,
        split_address, vectors, recipe.grid_strengths,
    )  # fmt: skip


@step("sweep")
def sweep(recipe: Recipe, split_address: str, vectors: str, address: str) -> str:
    """Answer every validation item in every configuration of the grid: rows of `PREDICTIONS`."""
    lake, directions = resources.lake(), read_directions(vectors)
    val, wanted = read_split(lake, split_address).val, grid(recipe, directions)
    deltas = [
        (at, np.float32(at.strength) * directions.direction[at.method, at.layer])
        for at in wanted
        if at.strength
    ]
    rows = score_configurations(recipe, val, deltas, VALIDATION)
    return lake.write_table(address, pa.Table.from_pylist(rows, schema=PREDICTIONS))


def unsteered_accuracy(sweep_result: str) -> float:
    """Return the validation accuracy of the unsteered model."""
    table = resources.lake().read_table(sweep_result).to_pandas()
    alone = table[table["method"] == UNSTEERED]
    return float((alone["choice"] == alone["label"]).mean())


def cells(recipe: Recipe, sweep_result: str, vectors: str) -> list[Cell]:
    """Count the right answers of every configuration."""
    directions = read_directions(vectors)
    table = resources.lake().read_table(sweep_result).to_pandas()
    table["correct"] = table["choice"] == table["label"]
    counts = table.groupby(["method", "layer", "strength"], dropna=False)["correct"].agg(
        ["size", "sum"]
    )
    steered = {
        (method, int(layer), strength): tuple(map(int, row))
        for (method, layer, strength), row in zip(counts.index, counts.to_numpy(), strict=True)
        if method != UNSTEERED
    }
    alone = table[table["method"] == UNSTEERED]["correct"]
    unsteered = (len(alone), int(alone.sum()))
    found = []
    for at in grid(recipe, directions):
        n, correct = steered[at] if at.strength else unsteered
        effect = abs(at.strength) * directions.norm[at.method, at.layer]
        found.append(Cell(at, n, correct, effect))
    return found


def correct_by_configuration(sweep_result: str) -> dict[Configuration, np.ndarray]:
    """Return for every steered configuration bool [n_items], in the items' order.

    Under the method "none" it is the unsteered model's.
    """
    table = resources.lake().read_table(sweep_result).to_pandas()
    table["correct"] = table["choice"] == table["label"]
    table = table.sort_values("item_id")
    keys = [table["method"], table["layer"].fillna(0).astype(int), table["strength"]]
    return {
        Configuration(str(method), int(layer), float(strength)): rows["correct"].to_numpy()
        for (method, layer, strength), rows in table.groupby(keys)
    }
