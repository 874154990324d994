"""Courtesy: customer messages, each with a courteous and a curt reply of matched length.

The demonstration data of this project: written for it, generated here, and small enough that the
whole pipeline runs on a laptop. It is made for choice-likelihood scoring, where each choice is
scored by the mean log-probability per token of `" " + choice` after the question.

An item takes one scenario (its group), one message, one fact, one opener and one closer. Both
replies state the same fact in the same place and both answer the message; what stands before and
after the fact is courteous in one and curt in the other. No opener or closer is used by two
scenarios, so a split by group shares no template between its parts.

Matched length: a courteous opener or closer has at most one word more or less than its curt
counterpart, so two replies (21 words on average) differ by at most two; over the whole set the
mean difference is below a tenth of a word and five characters, the courteous reply being longer.

Limits, to be read before a number is quoted. The wording was balanced until SmolLM2-135M-Instruct
preferred the courteous reply in about .6 of the items (.0 to 1.0 by group); texts were chosen by
unsteered scores alone, but the layout, a manner on both sides of the fact, was kept after it was
seen to steer more evenly than one side. A scenario has two openers and two closers, so its items
are far from independent and 40 groups, not 640 items, is the size to think of. A manner may add a
small promise or reproach. What is courteous was decided by the author alone.
"""

import itertools
import random
from importlib import resources
from typing import NamedTuple

from pas.data.examples import Example
from pas.datasets.benchmark import Benchmark

ITEMS_PER_COMBINATION = 4
_SEED = 20260501
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

# One block a scenario: `name | things`, two messages, two facts, two openers and two closers as
# `frame | courteous | curt`. A frame shows the manner M, the fact F and what stands between them;
# {x} is a thing of the scenario, {d} a weekday.
_TABLE = resources.files("pas.datasets").joinpath("courtesy.txt")


class Manners(NamedTuple):
    """A courteous and a curt way to say what stands before or after the fact."""

    joint: str
    courteous: str
    curt: str


class Scenario(NamedTuple):
    """One group of items; messages and facts hold `{x}` and `{d}`."""

    name: str
    things: tuple[str, ...]
    messages: tuple[str, ...]
    facts: tuple[str, ...]
    openers: tuple[Manners, ...]
    closers: tuple[Manners, ...]


def scenarios() -> tuple[Scenario, ...]:
    """Read the table."""
    return tuple(
        _scenario(block.splitlines())
        for block in _TABLE.read_text(encoding="utf-8").strip().split("\n\n")
    )


def _scenario(lines: list[str]) -> Scenario:
    name, things = lines[0].split(" | ")
    openers: list[Manners] = []
    closers: list[Manners] = []
    for line in lines[4:]:
        frame, courteous, curt = line.split(" | ")
        side = openers if frame.startswith("M") else closers
        side.append(Manners(frame.strip("MF"), courteous, curt))
    return Scenario(
        name=name,
        things=tuple(things.split()),
        messages=tuple(line.removeprefix("? ") for line in lines[1:3]),
        facts=tuple(lines[3].removeprefix("= ").split(" | ")),
        openers=tuple(openers),
        closers=tuple(closers),
    )


def _items_of(scenario: Scenario, rng: random.Random) -> list[Example]:
    """The items of one group: every opener with every closer, equally often with either label."""
    # A text need not use both slots, so different fillings can give the same message and fact.
    contents = list(
        dict.fromkeys(
            (message.format(x=thing, d=day), fact.format(x=thing, d=day))
            for message in scenario.messages
            for fact in scenario.facts
            for thing in scenario.things
            for day in _DAYS
        )
    )
    items = []
    combinations = itertools.product(scenario.openers, scenario.closers)
    for number, (opener, closer) in enumerate(combinations):
        for copy, (message, fact) in enumerate(rng.sample(contents, ITEMS_PER_COMBINATION)):
            stated = fact[0].upper() + fact[1:] if opener.joint == ". " else fact
            courteous, curt = (
                f"{before}{opener.joint}{stated}{closer.joint}{after}."
                for before, after in (
                    (opener.courteous, closer.courteous),
                    (opener.curt, closer.curt),
                )
            )
            label = copy % 2
            items.append(
                Example(
                    id=f"courtesy/{scenario.name.replace(' ', '-')}/{number}-{copy}",
                    question=f"Customer: {message}\nCustomer service:",
                    choices=(curt, courteous) if label else (courteous, curt),
                    label=label,
                    group=scenario.name,
                )
            )
    return items


def generate() -> list[Example]:
    """Build the data set: 640 items in 40 groups, the same list on every call.

    Returns:
        Shuffled items with two choices each; `label` is the index of the courteous reply, 0 and 1
        equally often in every group.
    """
    rng = random.Random(_SEED)
    items = [item for scenario in scenarios() for item in _items_of(scenario, rng)]
    rng.shuffle(items)
    return items


BENCHMARKS = [
    Benchmark(
        name="demo",
        summary="Customer messages with a courteous and a curt reply, written by this project",
        category="demo",
        licence="Apache-2.0",
        citation="This project",
        scoring="choice",
        generate=generate,
    )
]
