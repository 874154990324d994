"""Damage: what configurations do to neutral text, measured once and kept in the lake."""

import hashlib
from collections.abc import Sequence

import pyarrow as pa

from pas.evidence.damage import Damage, neutral_damage, neutral_texts
from pas.methods.grid import Configuration, Directions
from pas.recipe import Recipe
from storage.lake.stages import Stage, stage
from storage.settings import settings
from tasks import resources
from tasks.caching import step
from tasks.estimate import read_directions

_SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("layer", pa.int16()),
        ("strength", pa.float64()),
        ("kl", pa.float64()),
        ("nll_before", pa.float64()),
        ("nll_after", pa.float64()),
        ("n_tokens", pa.int64()),
    ]
)


def damage_of(
    recipe: Recipe, directions: Directions, configurations: Sequence[Configuration]
) -> dict[Configuration, Damage]:
    """Run neutral text under each configuration; strength 0 is measured too, and gives 0."""
    model, budget = resources.model(recipe.model), settings().batch_tokens
    return neutral_damage(model, directions, configurations, recipe.site, token_budget=budget)


def damage_stage(recipe: Recipe, vectors: str, configurations: Sequence[Configuration]) -> Stage:
    """Return where the damage of these configurations is stored."""
    texts = hashlib.blake2b("\n\n".join(neutral_texts()).encode(), digest_size=16).hexdigest()
    return stage(
        resources.lake(),
        "damage",
        model=resources.resolved(recipe).fingerprint,
        vectors=vectors,
        texts=texts,
        configurations=sorted(configurations),
    )


@step("damage", address=damage_stage)
def measure_damage(
    recipe: Recipe, vectors: str, configurations: Sequence[Configuration]
) -> pa.Table:
    """Measure what configurations do to neutral text, one row each."""
    measured = damage_of(recipe, read_directions(vectors), configurations)
    rows = [at._asdict() | value._asdict() for at, value in measured.items()]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def read_damage(
    recipe: Recipe, vectors: str, configurations: Sequence[Configuration]
) -> dict[Configuration, Damage]:
    """Return the damage of configurations, from the lake if a run has measured them."""
    address = measure_damage(recipe, vectors, configurations)
    return {
        Configuration(row.pop("method"), row.pop("layer"), row.pop("strength")): Damage(**row)
        for row in resources.lake().read_table(address).to_pylist()
    }
