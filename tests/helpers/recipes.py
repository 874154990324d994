"""The recipe that most tests of flows train: toy questions and a tiny model."""

from pathlib import Path

from pas.recipe import Recipe
from tests.helpers.data_files import write_toy


def toy(folder: Path, model: Path, n: int = 60, **changes: object) -> Recipe:
    """Write `n` toy questions into the folder; `changes` replace fields of the recipe.

    There is no limit on damage: a tiny model is easily damaged, and the oracle knows no limit.
    """
    fields: dict[str, object] = {
        "task": "toy",
        "data": str(write_toy(folder / "toy.jsonl", n)),
        "group_col": "topic",
        "id_col": "id",
        "model": str(model),
        "layers": "1,2",
        "strengths": "1,4",
        "max_kl": None,
    }
    return Recipe(**(fields | changes))
