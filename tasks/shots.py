"""Shots: the split of an in-context run, made from the answers without shots."""

from pas.data.fewshot import with_shots
from pas.recipe import Recipe
from storage.lake.stages import read_split, stage_address, write_split
from tasks import resources
from tasks.caching import filling, step
from tasks.extract import extract_missing
from tasks.predict import answered, predict, predictions_address


@step("shots")
def give_shots(recipe: Recipe, split_address: str, predictions: str, address: str) -> str:
    """Write the split with exemplars before every prompt and out of training, at `address`.

    Raises:
        UserError: If too few training items were answered wrongly.
    """
    lake = resources.lake()
    parts = read_split(lake, split_address)
    items = answered(parts, predictions)
    found = with_shots(parts, items, recipe.shots, recipe.seed, recipe.rule.kind)
    return write_split(lake, address, found)


def shown(recipe: Recipe, split_address: str) -> str:
    """Answer the training items, draw exemplars among them, and return the new split's address.

    Without shots the split is as it was.

    Raises:
        UserError: If too few training items were answered wrongly.
    """
    if not recipe.shots:
        return split_address
    lake = resources.lake()
    extract_missing(recipe, split_address, methods=())
    predicted = predictions_address(recipe, split_address)
    filling(predict, lake, predicted)(recipe, split_address, predicted)
    address = stage_address(lake, "shots", predicted, recipe.shots, recipe.seed)
    return filling(give_shots, lake, address)(recipe, split_address, predicted, address)
