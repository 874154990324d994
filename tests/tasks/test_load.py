"""Loading a data set and its split."""

from pathlib import Path

import pytest

from pas.errors import UserError
from storage.lake.stages import read_split
from tasks import resources
from tasks.load import load
from tests.helpers.recipes import toy


@pytest.mark.server
def test_a_smaller_training_set_is_part_of_a_larger(tmp_path: Path, home: Path) -> None:
    recipe = toy(tmp_path, Path("demo"), 40)
    whole, ten, four = (
        read_split(resources.lake(), load(recipe.but(train_items=n))) for n in (None, 10, 4)
    )
    assert ten.train == whole.train[:10] and four.train == whole.train[:4]
    assert ten.val == whole.val and ten.test == whole.test
    with pytest.raises(UserError, match="--train-items 1000"):
        load(recipe.but(train_items=1000))
