"""Extract: fill the lake with a recipe's activations, for a GPU worker to run ahead of training."""

from typing import NamedTuple

from prefect import flow

from flows.runners import task_runner
from flows.share import helped
from pas.reading import mapped
from pas.recipe import Recipe
from tasks.extract import extract_missing
from tasks.load import load
from tasks.predict import predict
from tasks.shots import with_worked_examples


class ExtractionCounts(NamedTuple):
    """How many prompts were wanted, in the lake already, and run."""

    prompts_total: int
    prompts_cached: int
    prompts_extracted: int


@flow(
    name="extract",
    flow_run_name="extract {recipe.label} on {recipe.model.slug}, seed {recipe.seed}",
    task_runner=task_runner(),
)
def extract(recipe: Recipe, workers: int = 1) -> ExtractionCounts:
    """Run the model over the training items; `train` then finds their activations and answers.

    Args:
        recipe: The training to come.
        workers: Processes that share the work, this one included; the others are runs of the
            deployment `share`.

    Raises:
        UserError: For a mistake in the recipe, the data or the model.
    """
    recipe = mapped(recipe)
    split = with_worked_examples(recipe, load(recipe))
    with helped(workers) as share:
        plan = extract_missing(recipe, split, share=share)
    predict(recipe, split)
    return ExtractionCounts(plan.total, plan.cached, plan.total - plan.cached)
