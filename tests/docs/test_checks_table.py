"""The README shows the table of checks that decides."""

from pas.evidence.checks import markdown
from tests.helpers.places import ROOT


def test_the_readme_shows_the_table_of_checks() -> None:
    assert markdown() in (ROOT / "README.md").read_text()
