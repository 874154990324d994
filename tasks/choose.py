"""Choose: the configurations that go on to the test items, by the recipe's rule."""

from pas.methods.answers import Answers
from pas.methods.grid import Cell
from pas.methods.selection import Selection
from pas.methods.selection import choose as choose_among
from pas.recipe import Recipe
from tasks.damage import damage_meter


def choose(recipe: Recipe, cells: list[Cell], answers: Answers, vectors: str) -> Selection:
    """Choose by the recipe's rule and its limit on damage.

    Args:
        recipe: The training.
        cells: Of its sweep.
        answers: To the validation items.
        vectors: Address of the vectors.

    Raises:
        UserError: If every configuration damages neutral text beyond the limit.
    """
    measure = damage_meter(recipe, vectors)
    return choose_among(
        cells,
        recipe.protocol,
        recipe.select,
        answers=answers,
        damage=lambda configurations: [damage.kl for damage in measure(configurations)],
        max_kl=recipe.max_kl,
    )
