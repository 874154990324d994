"""docs/data.md shows every shape that the tests read."""

from tests.helpers.places import ROOT
from tests.helpers.shapes import markdown


def test_the_table_of_shapes_is_the_one_that_is_tested() -> None:
    assert markdown() in (ROOT / "docs" / "data.md").read_text("utf-8")
