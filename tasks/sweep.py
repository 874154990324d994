"""Sweep: every (method, layer, strength) on the validation items."""

import pyarrow as pa

from pas.methods.grid import grid
from pas.methods.selection import count
from pas.methods.sweep import Sweep
from pas.recipe import Recipe
from storage.lake.stages import Stage, read_split
from tasks import resources
from tasks.answers import VALIDATION, answer_items, answers_stage, answers_table, read_answers
from tasks.caching import step
from tasks.estimate import read_directions


def sweep_stage(recipe: Recipe, split: str, vectors: str) -> Stage:
    """Return where the sweep's answers are stored."""
    strengths = resources.resolved(recipe).strengths
    return answers_stage(recipe, "sweeps", split, vectors=vectors, strengths=strengths)


@step("sweep", address=sweep_stage)
def sweep(recipe: Recipe, split: str, vectors: str) -> pa.Table:
    """Answer every validation item in every configuration."""
    directions = read_directions(vectors)
    deltas = directions.deltas(grid(directions, resources.resolved(recipe).strengths))
    val = read_split(resources.lake(), split).val
    return answers_table({VALIDATION: answer_items(recipe, val, deltas, normalise=False)})


def read_sweep(recipe: Recipe, vectors: str, swept: str) -> Sweep:
    """Read a sweep from the addresses of its vectors and answers."""
    directions, answers = read_directions(vectors), read_answers(swept)[VALIDATION]
    setup = resources.resolved(recipe)
    cells = count(answers, directions, grid(directions, setup.strengths))
    return Sweep(directions, answers, tuple(cells), setup.rule, recipe.site)
