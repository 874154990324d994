"""Load: from a source to a validated, split data set in the lake."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from pas.data.examples import Example, digest
from pas.data.splits import Split, split
from pas.errors import UserError
from pas.intake.items import Intake
from pas.reading import take_in
from pas.recipe import Recipe
from storage.lake.stages import ITEMS, SPLITS_KIND, Stage, split_table, stage
from storage.lake.verification import intact
from tasks import resources
from tasks.scorable import scorable


def load_split(recipe: Recipe, examples: list[Example]) -> Split:
    """Split the examples as the recipe says; fewer training items are the first of more.

    Raises:
        UserError: If there are too few items or groups.
    """
    try:
        parts = split(
            examples,
            recipe.seed,
            recipe.protocol,
            recipe.max_items,
            recipe.order_seed,
            recipe.split_rule,
        )
    except UserError as error:
        raise UserError(f"--task {recipe.task}: {error}") from error
    if recipe.train_items is None:
        return parts
    if recipe.train_items > len(parts.train):
        raise UserError(
            f"--train-items {recipe.train_items}: the training split of {recipe.task} has only "
            f"{len(parts.train)}"
        )
    return parts._replace(train=parts.train[: recipe.train_items])


def split_stage(recipe: Recipe, taken: Intake, unscorable: Sequence[str] = ()) -> Stage:
    """Return where the split of these items is stored; what was left out is an ingredient too.

    Args:
        recipe: The recipe.
        taken: Its data.
        unscorable: Items that were left out because the model cannot be asked them.
    """
    left_out = [*taken.skipped, *unscorable]
    unusual: dict[str, object] = {"skipped": left_out} if left_out else {}
    if recipe.split_rule != "balanced":
        unusual["rule"] = recipe.split_rule
    return stage(
        resources.lake(),
        SPLITS_KIND,
        data=digest(taken.examples),
        seed=recipe.seed,
        protocol=recipe.protocol,
        max_items=recipe.max_items,
        order_seed=recipe.order_seed,
        train_items=recipe.train_items,
        **unusual,
    )


# The source may change under the same name, so this step is never taken from Prefect's cache.
@task(name="load", task_run_name="load {recipe.task}", cache_policy=NO_CACHE)
def load(recipe: Recipe) -> str:
    """Load, validate and split the data; return the address of the split in the lake.

    Raises:
        UserError: If the source is absent, a row is unusable, or the data cannot be split.
    """
    lake, taken = resources.lake(), take_in(recipe)
    parts, unscorable = scorable(recipe, load_split(recipe, taken.examples))
    where = split_stage(recipe, taken, unscorable)
    if intact(lake, where.address):
        return where.address
    facts = where._replace(ingredients=where.ingredients | {ITEMS: len(taken.examples)})
    return lake.write_table(where.address, split_table(parts), facts.metadata)
