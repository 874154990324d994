"""Outlook: everyday questions, each with a cheerful and a gloomy answer of matched length.

The demonstration data set, written for this project. It is small enough that the whole pipeline
runs on a laptop in minutes. It is made for choice-likelihood scoring (docs/method.md,
"Choice-likelihood scoring").

There are 160 scenarios (the groups). Each has one question and two items, which share only the
question. No question or answer is used by two scenarios, so the parts of a split by group have no
text in common. The cheerful answer counts as correct. This is a preference to teach, not a fact.

Matched length: the two answers have 5 to 9 words (6.9 on average) and differ by at most one word
and twelve characters; on average they have the same number of words, and the cheerful one is 1.1
characters longer. Nearly nine pairs in ten begin with the same word.

Limits. Read these before quoting a number. The answers were reworded until SmolLM2-135M-Instruct
preferred the cheerful one in about half to two thirds of the items. The share is .58 (no item in 27
groups, one in 81, both in 52). It was .80 on 40 trial pairs that were plain opposites, and .23 in a
draft with plainer gloomy answers. The unsteered rate is therefore a choice of the author and says
nothing about the model's outlook.

Three behaviours were tried on 40 questions each: courtesy, formal language and outlook. At the same
damage to neutral text, outlook shifted the margins between the answers the most, measured in
standard deviations of those margins. The layers and strengths of `pas demo` were chosen on the
validation items of splits 1 and 2, and splits 1 to 5 were tested before split 0. All are splits of
the same scenarios, so the seeds are not independent samples. The two items of a scenario are
similar, so the effective sample size is 160 groups, not 320 items. All texts are by one author, and
an answer is cheerful mostly through its adjectives and verbs. A gain on this task is a gain in
sentiment, not in a skill.
"""

import random
from importlib import resources
from typing import NamedTuple

from pas.data.examples import Example
from pas.datasets.benchmark import Benchmark

_SEED = 20261125

# One block per scenario: `name | question`, then two lines `cheerful | gloomy`.
_TABLE = resources.files("pas.datasets").joinpath("outlook.txt")


class Replies(NamedTuple):
    """A cheerful and a gloomy answer to the same question."""

    cheerful: str
    gloomy: str


class Scenario(NamedTuple):
    """One group of items: a question and its pairs of answers."""

    name: str
    question: str
    pairs: tuple[Replies, ...]


def scenarios() -> tuple[Scenario, ...]:
    """Return the 160 scenarios in the order of the file."""
    return tuple(
        _scenario(block.splitlines())
        for block in _TABLE.read_text(encoding="utf-8").strip().split("\n\n")
    )


def _scenario(lines: list[str]) -> Scenario:
    name, question = lines[0].split(" | ")
    return Scenario(name, question, tuple(Replies(*line.split(" | ")) for line in lines[1:]))


def generate() -> list[Example]:
    """Build the data set: 320 items in 160 groups, the same list on every call.

    Returns:
        Shuffled items with two choices each. `label` is the index of the cheerful answer. Each
        group has one item with label 0 and one with label 1.
    """
    items = [
        Example(
            id=f"outlook/{scenario.name.replace(' ', '-')}/{label}",
            question=f"Friend: {scenario.question}\nMe:",
            choices=(pair.gloomy, pair.cheerful) if label else (pair.cheerful, pair.gloomy),
            label=label,
            group=scenario.name,
        )
        for scenario in scenarios()
        for label, pair in enumerate(scenario.pairs)
    ]
    random.Random(_SEED).shuffle(items)
    return items


BENCHMARKS = [
    Benchmark(
        name="demo",
        summary="Everyday questions with a cheerful and a gloomy answer, written by this project",
        category="demo",
        licence="Apache-2.0",
        citation="This project",
        scoring="choice",
        generate=generate,
    )
]
