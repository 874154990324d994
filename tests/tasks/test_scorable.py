"""Items that the model cannot be asked are told before anything is run."""

from pathlib import Path

import pytest

from pas.errors import UserError
from pas.recipe import Recipe
from storage.lake.stages import read_split, skipped_rows
from tasks import resources
from tasks.forecast import forecast
from tasks.load import load
from tests.helpers.data_files import write_toy


@pytest.mark.server  # a step runs as a Prefect task
def test_items_that_are_too_long_are_listed(tmp_path: Path, home: Path, tiny_folder: Path) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 40, question="Where does it sleep? " * 400)
    recipe = Recipe(task="toy", data=str(data), group_col="topic", model=str(tiny_folder))
    with pytest.raises(UserError) as error:
        forecast(recipe)
    said = str(error.value)
    assert said.startswith(f"--model {tiny_folder}: 1 problem(s) in the rows; correct them")
    assert "item '" in said and "longer than the model's context window of 1024" in said
    skipping = recipe.but(skip_bad_rows=True)
    assert sum(forecast(skipping).items.values()) == 39
    split = load(skipping)
    assert sum(map(len, read_split(resources.lake(), split))) == 39
    [left_out] = skipped_rows(resources.lake(), split)
    assert left_out.startswith("item 'row-7'") and "context window" in left_out
    assert forecast(recipe.but(data=str(write_toy(tmp_path / "fine.jsonl", 40)))).items
