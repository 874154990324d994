"""What a training is made from: known before it runs, without loading a model."""

from typing import Any

from pas.data.chat import PLAIN
from pas.data.examples import digest
from pas.intake.items import Intake
from pas.recipe import Recipe
from storage.lake.lineage import code_digest
from storage.lake.stages import data_digest, data_items
from storage.registry.origin import Origin, recipe_text
from tasks import resources


def fields_that_matter(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's fields without those that cannot change its result.

    The name of the data is None: what the data hold is told by their digest.
    """
    fields = recipe.as_dict() | {"data": None}
    if recipe.protocol == "paper":
        del fields["max_kl"]  # without effect there
    if resources.resolved(recipe).rule.prompt == PLAIN:
        for name in ("prompt", "system", "close_thinking"):
            del fields[name]
    return fields


def origin_of(recipe: Recipe, taken: Intake) -> Origin:
    """Return what a training would be made from.

    Args:
        recipe: With all that is recognised about its data, see `pas.reading.mapped`.
        taken: Its data, as `pas.reading.take_in` reads them.

    Raises:
        UserError: If the model is absent.
    """
    return _origin(recipe, digest(taken.examples), len(taken.examples))


def origin_of_split(recipe: Recipe, split: str) -> Origin:
    """Return what a training was made from, by the address of its split."""
    lake = resources.lake()
    return _origin(recipe, data_digest(lake, split), data_items(lake, split))


def _origin(recipe: Recipe, data: str, items: int | None) -> Origin:
    fingerprint = resources.resolved(recipe).fingerprint
    return Origin(data, items, fingerprint, recipe_text(fields_that_matter(recipe)), code_digest())
