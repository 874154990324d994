"""Asking: the test items with the behaviour asked for in words, without and with the vector."""

from functools import partial

import pyarrow as pa

from pas.data.splits import Split
from pas.evidence.asking import Told, ways_to_ask
from pas.evidence.evaluation import answer_asked
from pas.methods.selection import Selection
from pas.recipe import Recipe
from storage.lake.stages import Stage, read_split
from tasks import resources
from tasks.answers import answer_items, answers_stage, answers_table
from tasks.caching import step
from tasks.estimate import read_directions


def ways_of(recipe: Recipe, parts: Split) -> list[Told]:
    """Return the test items with what the recipe asks for the behaviour with, for each way."""
    return ways_to_ask(
        resources.model_info(recipe.model),
        parts,
        resources.resolved(recipe).rule,
        recipe.instruction,
        recipe.asked_examples,
    )


def asking_stage(recipe: Recipe, split: str, vectors: str, selection: Selection) -> Stage:
    """Return where the answers to the test items, asked in words, are stored."""
    return answers_stage(
        recipe,
        "asking",
        split,
        vectors=vectors,
        instruction=recipe.instruction,
        examples=recipe.asked_examples,
        selected=selection.selected.configuration,
    )


@step("ask-in-words", address=asking_stage)
def ask_in_words(recipe: Recipe, split: str, vectors: str, selection: Selection) -> pa.Table:
    """Answer the test items with the behaviour asked for in words, unsteered and steered.

    The conditions are the ways of asking.
    """
    return answers_table(
        answer_asked(
            partial(answer_items, recipe, normalise=True),
            ways_of(recipe, read_split(resources.lake(), split)),
            read_directions(vectors),
            selection,
        )
    )


def asks(recipe: Recipe) -> bool:
    """Return whether a recipe has the behaviour asked for in words."""
    return recipe.instruction is not None or recipe.asked_examples > 0
