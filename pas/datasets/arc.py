"""ARC-Challenge: grade-school science questions that simple retrieval gets wrong.

Three to five choices, named by letters or, in a few rows, by digits. A few questions occur twice
with different choices, so the group is the question's text. The paper's authors read the train
split.
"""

from pas.data.examples import Example, group_key
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import lettered, text
from pas.intake.rows import Row


def parse(row: Row, number: int) -> Example:
    """Read one row.

    Raises:
        KeyError: If a field is missing.
        ValueError: If a field is empty or the answer is not one of the choices.
    """
    del number
    question = text(row, "question")
    choices, label = lettered(row["choices"]["text"], row["choices"]["label"], row["answerKey"])
    return Example(
        id=str(row["id"]),
        question=question,
        choices=choices,
        label=label,
        group=group_key(question),
        stratum=str(label),
    )


BENCHMARKS = [
    Benchmark(
        name="arc_challenge",
        summary="ARC-Challenge: grade-school science",
        category="intelligence",
        licence="CC-BY-SA-4.0",
        citation="Clark et al. 2018, Think you have Solved Query Answering?, arXiv:1803.05457",
        hub_id="allenai/ai2_arc",
        revision="210d026faf9955653af8916fad021475a3f00453",
        hub_config="ARC-Challenge",
        hub_split="train",
        origin="allenai.org/data/arc",
        parse=parse,
    )
]
