"""OpenBookQA: elementary science, with the fact of the "open book" that the question was made from.

The full prompt shows the fact after the choices. Reads upstream's *_complete.jsonl, where stem and
choices are nested in `question`, and the hub's `additional` subset. Several questions are made from
one fact, so the group is the fact. The paper's authors read the train split.
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
    if "question_stem" in row:
        question, texts = text(row, "question_stem"), row["choices"]["text"]
        names = row["choices"]["label"]
    else:
        question, options = text(row["question"], "stem"), row["question"]["choices"]
        texts, names = ([option[field] for option in options] for field in ("text", "label"))
    choices, label = lettered(texts, names, row["answerKey"])
    fact = text(row, "fact1")
    return Example(
        id=str(row["id"]),
        question=question,
        choices=choices,
        label=label,
        group=group_key(fact),
        stratum=str(label),
        fact=fact,
    )


BENCHMARKS = [
    Benchmark(
        name="openbookqa",
        summary="OpenBookQA: elementary science, with the underlying fact",
        category="intelligence",
        licence="Apache-2.0",
        citation="Mihaylov et al. 2018, Can a Suit of Armor Conduct Electricity?, EMNLP, "
        "arXiv:1809.02789",
        hub_id="allenai/openbookqa",
        revision="388097ea7776314e93a529163e0fea805b8a6454",
        hub_config="additional",
        hub_split="train",
        origin="allenai.org/data/open-book-qa",
        parse=parse,
    )
]
