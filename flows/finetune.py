"""Fine-tune: a model to compare with steering, and to steer: its folder is a recipe's `model`."""

import logging
from pathlib import Path

from prefect import flow

from pas.finetune.settings import FineTuning
from pas.reading import mapped
from pas.recipe import Recipe
from tasks.finetune import fine_tune
from tasks.load import load

log = logging.getLogger("pas")


@flow(
    name="finetune",
    flow_run_name="fine-tune {recipe.model.slug} on {recipe.label}, seed {recipe.seed}",
)
def finetune(recipe: Recipe, tuning: FineTuning) -> Path:
    """Load and split the data, fine-tune the model on the training items, return its folder.

    Of the recipe, what determines the split, the model and the scoring counts; a training on the
    result with the same recipe selects and tests on items that the model has not seen. Worked
    examples (`shots`) are that training's: the model learns without them.

    Raises:
        UserError: For a mistake in the recipe, the data or the model.
    """
    recipe = mapped(recipe)
    tuned = fine_tune(recipe, load(recipe), tuning)
    log.info(
        "fine-tune: %d items, %d steps, loss %.3f to %.3f; it took %.1f s",
        tuned.n_items,
        len(tuned.losses),
        tuned.losses[0],
        tuned.losses[-1],
        tuned.seconds,
    )
    return tuned.folder
