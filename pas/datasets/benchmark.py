"""What a built-in task is."""

from collections.abc import Callable
from typing import NamedTuple

from pas.data.examples import Example
from pas.data.prompts import Scoring
from pas.data.sources import Row


class Benchmark(NamedTuple):
    """A built-in task.

    Attributes:
        name: As in `--task`.
        summary: One line for people.
        category: "bias", "morality", "alignment", "intelligence" or "demo".
        licence: Of the data.
        citation: Whom to cite: authors, year, title, venue or arXiv id.
        parse: Reads one row, numbered from 1.
        hub_id: Where the rows lie if no `--data` is given.
        revision: The hub's commit; None where none could be established, so that the rows may
            change under the same name.
        hub_config: The hub's subset.
        hub_split: The hub's split.
        origin: Where the authors of the data publish the files, for `--data`.
        family: Tasks of one family are listed in one line.
        scoring: How its items are best scored.
        generate: Makes the examples itself; such a task needs no source.
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
