"""Read the data set of a recipe, and complete the recipe with what was recognised."""

from pas.intake import items
from pas.intake.items import Intake
from pas.intake.sources import Part
from pas.recipe import Recipe


def take_in(recipe: Recipe) -> Intake:
    """Read all items of the recipe's data set, in the data set's own order, and say how.

    Raises:
        UserError: If the source is absent, or the items cannot be read without doubt.
    """
    benchmark = recipe.benchmark
    if benchmark is not None and benchmark.generate and recipe.data.name is None:
        return Intake(benchmark.generate(), None, (), (), Part("", [], {}, ()))
    read = items.take_in_parts if recipe.keep_splits else items.take_in
    parse = benchmark.parse if benchmark is not None else None
    return read(recipe.source, recipe.mapping, recipe.bad_rows, parse)


def mapped(recipe: Recipe, taken: Intake | None = None) -> Recipe:
    """Return the recipe with all that is recognised about its data.

    Args:
        recipe: The recipe.
        taken: Its data as `take_in` read them; they are read if they are needed.

    Raises:
        UserError: As `take_in` does.
    """
    if recipe.is_mapped:
        return recipe
    taken = taken or take_in(recipe)
    scoring = recipe.scoring
    if scoring == "auto":
        scoring = "choice" if taken.preference else "letter"
    return recipe.but(mapping=taken.mapping, scoring=scoring)
