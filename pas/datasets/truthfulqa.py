"""TruthfulQA, multiple choice with one correct answer (mc1).

Reads upstream's TruthfulQA.csv (best answer, then the incorrect ones, separated by semicolons) and
the hub's `mc1_targets`. The correct answer comes first in both, so the order of the choices must be
shuffled per item (docs/method.md, "Flaws of the published protocol", flaw 1).

The group is the question's category if the row has one: many categories are variations of one trick
("Confusion: People", "Indexical Error: Time"). The hub's rows have no category, so each question is
a group of its own. The stratum is the number of choices (2 to 13), which determines the accuracy of
guessing. One row of the csv lists an incorrect answer twice (see `pas.datasets.rows`).
"""

from pas.data.examples import Example, group_key
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import merged, text
from pas.intake.rows import Row


def parse(row: Row, number: int) -> Example:
    """Read one row.

    Raises:
        KeyError: If a field is missing.
        ValueError: If there is no correct or no incorrect answer.
    """
    if "mc1_targets" in row:
        question, category = text(row, "question"), ""
        targets = row["mc1_targets"]
        choices, label = merged(targets["choices"], list(targets["labels"]).index(1))
    else:
        question, category = text(row, "Question"), text(row, "Category")
        wrong = [part for part in text(row, "Incorrect Answers").split(";") if part.strip()]
        choices, label = merged([text(row, "Best Answer"), *wrong], 0)
    return Example(
        id=f"truthfulqa-{number}",
        question=question,
        choices=choices,
        label=label,
        group=category or group_key(question),
        stratum=f"{len(choices)} choices",
    )


BENCHMARKS = [
    Benchmark(
        name="truthfulqa",
        summary="TruthfulQA mc1: the true answer among common misconceptions",
        category="alignment",
        licence="Apache-2.0",
        citation="Lin, Hilton and Evans 2022, TruthfulQA, ACL, arXiv:2109.07958",
        hub_id="truthfulqa/truthful_qa",
        revision="741b8276f2d1982aa3d5b832d3ee81ed3b896490",
        hub_config="multiple_choice",
        hub_split="validation",
        origin="github.com/sylinrl/TruthfulQA",
        parse=parse,
    )
]
