"""CommonsenseQA: everyday knowledge, five choices.

Questions were written in sets around one concept, and the choices are neighbours of that concept,
so the group is the concept. Of 1,221 validation rows, 24 list an answer twice (see
`pas.datasets.rows`). The test split has no labels and is refused. The paper's authors read the
train split.
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
    choices, label = lettered(row["choices"]["text"], row["choices"]["label"], row["answerKey"])
    return Example(
        id=str(row["id"]),
        question=text(row, "question"),
        choices=choices,
        label=label,
        group=group_key(text(row, "question_concept")),
        stratum=row["answerKey"],
    )


BENCHMARKS = [
    Benchmark(
        name="commonsenseqa",
        summary="CommonsenseQA: everyday knowledge",
        category="intelligence",
        licence="MIT",
        citation="Talmor et al. 2019, CommonsenseQA, NAACL, arXiv:1811.00937",
        hub_id="tau/commonsense_qa",
        revision="94630fe30dad47192a8546eb75f094926d47e155",
        hub_split="train",
        origin="www.tau-nlp.org/commonsenseqa",
        parse=parse,
    )
]
