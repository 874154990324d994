"""Choose: the configurations that go on to the test items, by the recipe's rule."""

from collections.abc import Sequence

import numpy as np

from pas.methods.grid import Cell, Configuration
from pas.methods.selection import Correct, candidates, select
from pas.recipe import Recipe
from tasks import resources
from tasks.caching import filling
from tasks.damage import damage_address, measure_damage, read_damage
from tasks.sweep import UNSTEERED, correct_by_configuration


def choose(recipe: Recipe, found: list[Cell], swept: str, vectors: str) -> dict[str, Cell]:
    """Return each estimator's choice by method, and the one among them all under "selected".

    Args:
        recipe: The training.
        found: Its cells.
        swept: Address of the sweep.
        vectors: Address of the vectors.
    """
    methods = [m for m in recipe.estimators if _of(found, m)]
    if recipe.select == "best":
        best = {m: select(_of(found, m), recipe.protocol) for m in methods}
        return best | {"selected": select(list(best.values()), recipe.protocol)}
    correct = _answers(found, swept)
    measured: dict[Configuration, float] = {}
    if recipe.select == "least-damage":
        measured = _harm(recipe, found, correct, vectors)

    def choice(cells: Sequence[Cell]) -> Cell:
        return select(
            cells, recipe.protocol, recipe.select, correct=correct, damage=measured.__getitem__
        )

    best = {m: choice(_of(found, m)) for m in methods}
    return best | {"selected": choice(found)}


def _of(cells: Sequence[Cell], method: str) -> list[Cell]:
    return [cell for cell in cells if cell.configuration.method == method]


def _answers(cells: Sequence[Cell], swept: str) -> dict[Configuration, np.ndarray]:
    """Return the right answers of every cell; those of strength 0 are the unsteered model's."""
    known = correct_by_configuration(swept)
    unsteered = next(right for at, right in known.items() if at.method == UNSTEERED)
    return {
        cell.configuration: known[cell.configuration] if cell.configuration.strength else unsteered
        for cell in cells
    }


def _harm(
    recipe: Recipe, cells: Sequence[Cell], correct: Correct, vectors: str
) -> dict[Configuration, float]:
    """Measure the damage of each method's candidates and of all methods' together."""
    groups = [*(own for m in recipe.estimators if (own := _of(cells, m))), list(cells)]
    wanted = {
        str(cell.configuration): cell
        for group in groups
        for cell in candidates(group, recipe.protocol, correct)
    }
    address = damage_address(recipe, vectors, wanted)
    filling(measure_damage, resources.lake(), address)(recipe, vectors, wanted, address)
    return {at: value.kl for at, value in read_damage(address).items()}
