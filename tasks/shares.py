"""Shares of a step's work, for several processes to fill side by side.

A unit of work is a file in the lake, or two that one pass gives. A process claims a unit before it
fills it, so that the others take other ones. A claim is advice and not a lock: a unit that two
processes fill has the same content both times. So nothing waits for a process that has died; the
one that finishes the work fills its units too.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple
from uuid import uuid4

from pas.recipe import Recipe
from storage.lake.stages import SHARES
from storage.lake.verification import intact
from tasks import resources

_DOCUMENT = "work.json"
WAIT = 5.0  # seconds without progress after which a claimed unit is filled again
_POLL = 0.5  # seconds


class Unit(NamedTuple):
    """What one pass fills.

    Attributes:
        addresses: Files in the lake; the unit is filled when all of them are there.
        texts: Prompts to have activations of.
        items: Ids of the items to answer.
    """

    addresses: tuple[str, ...]
    texts: tuple[str, ...]
    items: tuple[str, ...]

    @property
    def is_filled(self) -> bool:
        """Whether all its files are there and can be used; damaged ones are set aside."""
        return all(intact(resources.lake(), address) for address in self.addresses)


class Work(NamedTuple):
    """The units of a step, and what is needed to fill them.

    Attributes:
        step: Which step it is.
        recipe: The training.
        split: Address of its split.
        vectors: Address of its vectors, for the sweep.
        units: What is to be filled.
    """

    step: Literal["extract", "sweep"]
    recipe: Recipe
    split: str
    vectors: str
    units: tuple[Unit, ...]


Share = Callable[[Work], None]
"""Has other processes help with the work; returns when all of it is done."""


def new_folder() -> str:
    """Return a place in the lake for the work of one training."""
    return resources.lake().address(SHARES, uuid4().hex)


def write_work(folder: str, work: Work) -> str:
    """Put the work where other processes find it; return its address."""
    document = work._asdict() | {
        "recipe": work.recipe.as_dict(),
        "units": [unit._asdict() for unit in work.units],
    }
    address = f"{folder}/{work.step}/{_DOCUMENT}"
    return resources.lake().write_text(address, json.dumps(document))


def find_work(folder: str) -> list[str]:
    """Return the addresses of a training's work; none once it needs no more help."""
    return resources.lake().list(folder, suffix=f"/{_DOCUMENT}")


def read_work(address: str) -> Work:
    """Read what `write_work` wrote."""
    with resources.lake().open(address) as handle:
        document = json.load(handle)
    units = tuple(
        Unit(tuple(unit["addresses"]), tuple(unit["texts"]), tuple(unit["items"]))
        for unit in document.pop("units")
    )
    return Work(**document | {"recipe": Recipe.read(document["recipe"]), "units": units})


def remove_work(folder: str) -> None:
    """Remove a training's work and the claims on it."""
    lake = resources.lake()
    for file in lake.list(folder, suffix=""):
        lake.remove(file)


def fill(
    address: str, units: Sequence[Unit], run: Callable[[Unit], object], *, finish: bool
) -> int:
    """Fill units that nobody has filled or claimed, until there is none.

    Args:
        address: Of the work.
        units: Its units.
        run: Fills one.
        finish: Return only when every unit is filled. A unit that another process has claimed is
            waited for; it is filled here if no unit was finished for `WAIT` seconds, or twice as
            long as the longest one took here.

    Returns:
        How many units this process has filled.
    """
    lake, folder = resources.lake(), address.rpartition("/")[0]
    filled, longest = 0, 0.0

    def timed(unit: Unit) -> None:
        nonlocal filled, longest
        began = time.monotonic()
        run(unit)
        filled, longest = filled + 1, max(longest, time.monotonic() - began)

    # Processes that begin in different places seldom reach for the same unit.
    start = random.randrange(len(units)) if units else 0
    order = [*range(start, len(units)), *range(start)]
    for i in order:
        claim = f"{folder}/{i}.claim"
        if not units[i].is_filled and lake.claim(claim):
            timed(units[i])
    lacking, since = len(units), time.monotonic()
    while finish and (left := [i for i in order if not units[i].is_filled]):
        if len(left) < lacking:
            lacking, since = len(left), time.monotonic()
        if time.monotonic() - since < max(WAIT, 2 * longest):
            time.sleep(_POLL)
        else:
            again = units[left[0]]
            timed(again)
            if not again.is_filled:
                raise RuntimeError(
                    f"{', '.join(again.addresses)}: filled, but what it holds cannot be used"
                )
            since = 0.0  # nobody else is at work: the rest at once
    return filled
