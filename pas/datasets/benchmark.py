"""The description of a built-in task."""

from collections.abc import Callable
from typing import NamedTuple

from pas.data.examples import Example
from pas.data.prompts import Scoring
from pas.intake.rows import Row


class Benchmark(NamedTuple):
    """A built-in task.

    Attributes:
        name: Name of the task, as in `--task`.
        summary: One line for users.
        category: "bias", "morality", "alignment", "intelligence" or "demo".
        licence: Licence of the data.
        citation: The reference: authors, year, title, venue or arXiv id.
        parse: Turns a row and its number, counted from 1, into an example.
        hub_id: Hub id of the rows, used if no `--data` is given.
        revision: Commit on the hub; None if it could not be established. The rows may then
            change under the same name.
        hub_config: Configuration (subset) on the hub.
        hub_split: Split on the hub.
        origin: Where the authors of the data publish the files that `--data` accepts.
        family: Tasks of one family are listed in one line.
        scoring: Scoring that suits the items best.
        generate: Returns the examples; such a task needs no source.
    """

    name: str
    summary: str
    category: str
    licence: str
    citation: str
    parse: Callable[[Row, int], Example] | None = None
    hub_id: str | None = None
    revision: str | None = None
    hub_config: str | None = None
    hub_split: str | None = None
    origin: str | None = None
    family: str | None = None
    scoring: Scoring = "letter"
    generate: Callable[[], list[Example]] | None = None
