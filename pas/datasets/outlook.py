"""Outlook: everyday questions, each with a cheerful and a gloomy answer of matched length.

The demonstration data of this project: written for it, and small enough that the whole pipeline
runs on a laptop in minutes. It is made for choice-likelihood scoring, where each choice is scored
by the mean log-probability per token of `" " + choice` after the question.

There are 160 scenarios (the groups) with one question each and two items, which share the question
and nothing else. No question or answer is used by two scenarios, so a split by group shares no text
between its parts. Cheerful is the right answer, which is a taste to be taught and not a fact.

Matched length: the two answers have 5 to 9 words (6.9 on average) and differ by at most one word
and twelve characters; on average they have the same number of words, and the cheerful one is 1.1
characters longer. Nearly nine pairs in ten begin with the same word.

Limits, to be read before a number is quoted. The answers were reworded until SmolLM2-135M-Instruct
preferred the cheerful one in about half to two thirds of the items: in .58 of them (in 27 groups in
neither, in 81 in one, in 52 in both). In 40 trial pairs that were plain opposites it was .80, and
in a draft with plainer gloomy answers .23. So the unsteered rate is a choice of the author and says
nothing of the model's outlook.

Of three behaviours tried on 40 questions each (courtesy, formal language, outlook), this one
shifted the margins between the answers the most, measured in standard deviations of those margins,
for the same damage to neutral text. The layers and strengths of `pas demo` were chosen on the
validation items of splits 1 and 2, and splits 1 to 5 were tested before split 0; all are splits of
the same scenarios, so the seeds are no independent samples. Two items of a scenario are alike: 160
groups, not 320 items, is the size to think of. All texts are by one author, and an answer is
cheerful mostly by its adjectives and verbs: a gain here is a gain in sentiment, not in any skill.
"""

import random
from importlib import resources
from typing import NamedTuple

from pas.data.examples import Example
from pas.datasets.benchmark import Benchmark

_SEED = 20261125

# One block a scenario: `name | question`, then two lines `cheerful | gloomy`.
_TABLE = resources.files("pas.datasets").joinpath("outlook.txt")


class Answers(NamedTuple):
    """A cheerful and a gloomy answer to the same question."""

    cheerful: str
    gloomy: str


class Scenario(NamedTuple):
    """One group of items: a question and its pairs of answers."""

    name: str
    question: str
    pairs: tuple[Answers, ...]


def scenarios() -> tuple[Scenario, ...]:
    """Read the table."""
    return tuple(
        _scenario(block.splitlines())
        for block in _TABLE.read_text(encoding="utf-8").strip().split("\n\n")
    )


def _scenario(lines: list[str]) -> Scenario:
    name, question = lines[0].split(" | ")
    return Scenario(name, question, tuple(Answers(*line.split(" | ")) for line in lines[1:]))


def generate() -> list[Example]:
    """Build the data set: 320 items in 160 groups, the same list on every call.

    Returns:
        Shuffled items with two choices each; `label` is the index of the cheerful answer, 0 and 1
        equally often in every group.
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
