"""Shots: the split of an in-context run, made from the answers without shots."""

import pyarrow as pa

from pas.data.fewshot import with_shots
from pas.recipe import Recipe
from storage.lake.stages import Stage, read_split, split_table, stage
from tasks import resources
from tasks.caching import step
from tasks.extract import extract_missing
from tasks.predict import answered, predict


def shots_stage(recipe: Recipe, split: str, predictions: str) -> Stage:
    """Return where the split with worked examples is stored."""
    return stage(
        resources.lake(),
        "shots",
        split=split,
        predictions=predictions,
        shots=recipe.shots,
        seed=recipe.seed,
    )


@step("shots", address=shots_stage)
def give_shots(recipe: Recipe, split: str, predictions: str) -> pa.Table:
    """Return the split with worked examples before every prompt and out of training.

    Raises:
        UserError: If too few training items were answered wrongly.
    """
    parts = read_split(resources.lake(), split)
    items = answered(parts, predictions)
    rule = resources.resolved(recipe).rule
    as_turns = rule.prompt.kind == "chat"
    return split_table(
        with_shots(parts, items, recipe.shots, recipe.seed, rule.kind, as_turns=as_turns)
    )


def with_worked_examples(recipe: Recipe, split: str) -> str:
    """Answer the training items, draw worked examples among them, and return the new split.

    Without shots the split is as it was.

    Raises:
        UserError: If too few training items were answered wrongly.
    """
    if not recipe.shots:
        return split
    extract_missing(recipe, split, methods=())
    return give_shots(recipe, split, predict(recipe, split))
