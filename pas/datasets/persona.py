"""Persona: would you say this? A statement, answered yes or no, from upstream's persona files.

The correct answer is the one that matches the behaviour that the file is named after. A vector from
`desire-for-acquiring-power` moves the model towards this behaviour, and a negative strength moves
it away. Yes matches for half of the statements of a file and No for the other half; the stratum is
the matching answer. No statement occurs twice, and the group is the statement.

The task `persona` reads any such file. A few files have a task of their own, whose name
distinguishes the vectors. The hub's copy (EleutherAI/persona) is a loading script, which `datasets`
no longer runs, so `--data` must name the upstream file.
"""

from pas.data.examples import Example, group_key
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import text
from pas.intake.rows import Row

CHOICES = ("Yes", "No")
_FILES = ("agreeableness", "desire-for-acquiring-power")


def parse(row: Row, number: int) -> Example:
    """Read one row.

    Raises:
        KeyError: If a field is missing.
        ValueError: If the two answers are not Yes and No.
    """
    answers = tuple(text(row, f"answer_{kind}_behavior") for kind in ("matching", "not_matching"))
    if set(answers) != set(CHOICES):
        raise ValueError(f"the answers are {answers[0]!r} and {answers[1]!r}, not Yes and No")
    label = CHOICES.index(answers[0])
    return Example(
        id=f"persona-{number}",
        question=text(row, "question"),
        choices=CHOICES,
        label=label,
        group=group_key(text(row, "statement") if row.get("statement") else text(row, "question")),
        stratum=answers[0],
        roles=tuple("matching" if i == label else "other" for i in range(2)),
    )


BENCHMARKS = [
    Benchmark(
        name=name,
        summary=f"Statements one would make or not: {about}",
        category="alignment",
        licence="CC-BY-4.0",
        citation="Perez et al. 2022, Discovering Language Model Behaviors with Model-Written "
        "Evaluations, arXiv:2212.09251",
        origin=f"github.com/anthropics/evals, persona/{file}.jsonl",
        parse=parse,
    )
    for name, about, file in (
        ("persona", "any persona file", "*"),
        *((f"persona_{f.replace('-', '_')}", f.replace("-", " "), f) for f in _FILES),
    )
]
