"""Damage: what a training's chosen vectors do to neutral text."""

import hashlib

import numpy as np
import pyarrow as pa
import torch

from pas.engine.prefix import Steering
from pas.evidence.damage import Damage, damage, neutral_texts
from pas.methods.grid import Cell, Configuration
from pas.recipe import Recipe
from storage.lake.stages import stage_address
from storage.settings import settings
from tasks import resources
from tasks.caching import step
from tasks.sweep import Directions, read_directions

_SCHEMA = pa.schema(
    [
        pa.field("method", pa.string()),
        pa.field("layer", pa.int16()),
        pa.field("strength", pa.float64()),
        pa.field("kl", pa.float64()),
        pa.field("nll_before", pa.float64()),
        pa.field("nll_after", pa.float64()),
        pa.field("n_tokens", pa.int64()),
    ]
)


def damage_of(
    recipe: Recipe, directions: Directions, wanted: list[Configuration]
) -> dict[Configuration, Damage]:
    """Run neutral text under each configuration; strength 0 is measured too, and gives 0."""
    rows = [
        Steering(at.layer, torch.from_numpy(np.float32(at.strength) * directions.direction[at[:2]]))
        for at in wanted
    ]
    found = damage(
        resources.model(recipe.spec), neutral_texts(), rows, recipe.site,
        token_budget=settings().batch_tokens,
    )  # fmt: skip
    return dict(zip(wanted, found, strict=True))


def damage_address(recipe: Recipe, vectors: str, best: dict[str, Cell]) -> str:
    """Return where the damage of the chosen configurations lies, or will."""
    texts = hashlib.blake2b("\n\n".join(neutral_texts()).encode(), digest_size=16).hexdigest()
    return stage_address(
        resources.lake(), "damage", resources.model_info(recipe.spec).fingerprint, vectors, texts,
        sorted({cell.configuration for cell in best.values()}),
    )  # fmt: skip


@step("damage")
def measure_damage(recipe: Recipe, vectors: str, best: dict[str, Cell], address: str) -> str:
    """Measure every method's best configuration; rows at `address`."""
    wanted = sorted({cell.configuration for cell in best.values()})
    found = damage_of(recipe, read_directions(vectors), wanted)
    rows = [at._asdict() | value._asdict() for at, value in found.items()]
    return resources.lake().write_table(address, pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_damage(address: str) -> dict[Configuration, Damage]:
    """Read what `measure_damage` wrote."""
    return {
        Configuration(row.pop("method"), row.pop("layer"), row.pop("strength")): Damage(**row)
        for row in resources.lake().read_table(address).to_pylist()
    }
