"""Sweep: every (method, layer, strength) on the validation items."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from pas.data.examples import Example
from pas.methods.grid import grid
from pas.methods.selection import count
from pas.methods.sweep import Sweep
from pas.recipe import Recipe
from storage.lake.stages import SWEEP_SHARES, Stage, read_split
from storage.lake.verification import intact
from tasks import resources
from tasks.answers import VALIDATION, answer_items, answers_stage, answers_table, read_answers
from tasks.caching import step
from tasks.estimate import read_directions
from tasks.shares import Share, Unit, Work

SHARE_ITEMS = 16  # validation items of a unit


def sweep_stage(recipe: Recipe, split: str, vectors: str) -> Stage:
    """Return where the sweep's answers are stored."""
    strengths = resources.resolved(recipe).strengths
    return answers_stage(recipe, "sweeps", split, vectors=vectors, strengths=strengths)


def share_stage(recipe: Recipe, split: str, vectors: str, items: Sequence[str]) -> Stage:
    """Return where the answers to some of the validation items are stored until the sweep ends."""
    strengths = resources.resolved(recipe).strengths
    kind = PurePosixPath(SWEEP_SHARES).name
    return answers_stage(recipe, kind, split, vectors=vectors, strengths=strengths, items=items)


def sweep_units(recipe: Recipe, split: str, vectors: str) -> tuple[Unit, ...]:
    """Return the sweep in units of `SHARE_ITEMS` validation items, in their order."""
    ids = [example.id for example in read_split(resources.lake(), split).val]
    parts = [tuple(ids[i : i + SHARE_ITEMS]) for i in range(0, len(ids), SHARE_ITEMS)]
    return tuple(
        Unit((share_stage(recipe, split, vectors, part).address,), (), part) for part in parts
    )


@step("sweep", address=sweep_stage)
def sweep(recipe: Recipe, split: str, vectors: str) -> pa.Table:
    """Answer every validation item in every configuration.

    Units that processes have shared among themselves are put together from the lake.
    """
    lake, units = resources.lake(), sweep_units(recipe, split, vectors)
    if not any(unit.is_filled for unit in units):
        return _answered(recipe, vectors, read_split(lake, split).val)
    run = unit_runner(Work("sweep", recipe, split, vectors, units))
    for unit in units:
        if not unit.is_filled:
            run(unit)
    return pa.concat_tables([lake.read_table(a) for unit in units for a in unit.addresses])


def share_sweep(recipe: Recipe, split: str, vectors: str, share: Share) -> None:
    """Have other processes help with a sweep; `sweep` then puts their answers together."""
    units, swept = sweep_units(recipe, split, vectors), sweep_stage(recipe, split, vectors)
    if len(units) > 1 and not intact(resources.lake(), swept.address):
        share(Work("sweep", recipe, split, vectors, units))


def unit_runner(work: Work) -> Callable[[Unit], str]:
    """Return what answers the items of a unit in every configuration."""
    lake, recipe = resources.lake(), work.recipe
    by_id = {example.id: example for example in read_split(lake, work.split).val}

    def run(unit: Unit) -> str:
        where = share_stage(recipe, work.split, work.vectors, unit.items)
        table = _answered(recipe, work.vectors, [by_id[item] for item in unit.items])
        return lake.write_table(where.address, table, where.metadata)

    return run


def _answered(recipe: Recipe, vectors: str, items: Sequence[Example]) -> pa.Table:
    directions = read_directions(vectors)
    deltas = directions.deltas(grid(directions, resources.resolved(recipe).strengths))
    return answers_table({VALIDATION: answer_items(recipe, items, deltas, normalise=False)})


def read_sweep(recipe: Recipe, vectors: str, swept: str) -> Sweep:
    """Read a sweep from the addresses of its vectors and answers."""
    directions, answers = read_directions(vectors), read_answers(swept)[VALIDATION]
    setup = resources.resolved(recipe)
    cells = count(answers, directions, grid(directions, setup.strengths))
    return Sweep(directions, answers, tuple(cells), setup.rule, recipe.site)
