"""Items that the model cannot be asked are told before anything is run."""

from pathlib import Path

import pytest

from pas.errors import UserError
from pas.recipe import Recipe
from tasks.forecast import forecast
from tests.helpers.data_files import write_toy


def test_items_that_are_too_long_are_listed(tmp_path: Path, home: Path, tiny_folder: Path) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 40, question="Where does it sleep? " * 400)
    recipe = Recipe(task="toy", data=str(data), group_col="topic", model=str(tiny_folder))
    with pytest.raises(UserError) as error:
        forecast(recipe)
    said = str(error.value)
    assert said.startswith(f"--model {tiny_folder}: 1 problem(s) in the rows; correct or remove")
    assert "item '" in said and "longer than the model's context window of 1024" in said
    assert forecast(recipe.but(data=str(write_toy(tmp_path / "fine.jsonl", 40)))).items
