"""MMLU: 57 school and professional subjects, as one task and as one task per subject.

The paper measures catastrophic forgetting on MMLU (docs/method.md, "Studies"). Reads the hub's
`question, subject, choices, answer` (an index) and JSON lines of `question, A, B, C, D, answer` (a
letter), with the subject in `subject` or `domain` if there is one. The task of one subject refuses
rows of another subject.

A few questions occur twice in a subject with different choices, so the group is the question's
text. History questions come in sets that quote one source; their group is the text without the
last line, which holds the question itself. The stratum is the subject, or the label if there is
only one subject. Repeated choices: see `pas.datasets.rows`.
"""

from functools import partial
from importlib import resources

from pas.data.examples import Example, group_key
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import lettered, merged, text
from pas.intake.rows import Row

_LETTERS = ("A", "B", "C", "D")
_SOURCE = "This question refers to the following information"
SUBJECTS = tuple(
    resources.files("pas.datasets").joinpath("mmlu_subjects.txt").read_text("utf-8").split()
)


def parse(row: Row, number: int, subject: str | None = None) -> Example:
    """Read one row, which must be of `subject` if that is given.

    Raises:
        KeyError: If a field is missing.
        ValueError: If the row is of another subject, or the answer is not one of the choices.
    """
    row_subject = str(row.get("subject") or row.get("domain") or "").strip().replace(" ", "_")
    if subject and row_subject and row_subject != subject:
        raise ValueError(
            f"the subject is {row_subject}, not {subject}; the task mmlu accepts all subjects"
        )
    question = text(row, "question")
    if "choices" in row:
        choices, label = merged(row["choices"], int(row["answer"]))
    else:
        choices, label = lettered([row[name] for name in _LETTERS], _LETTERS, row["answer"])
    shared = question.rpartition("\n")[0] if question.startswith(_SOURCE) else ""
    name = subject or row_subject
    return Example(
        id=f"{name or 'mmlu'}-{number}",
        question=question,
        choices=choices,
        label=label,
        group=f"{name}-{group_key(shared or question)}",
        stratum=str(label) if subject else row_subject,
    )


BENCHMARKS = [
    Benchmark(
        name="mmlu" if subject is None else f"mmlu_{subject}",
        summary=f"MMLU, {subject.replace('_', ' ') if subject else 'all 57 subjects'}",
        category="intelligence",
        licence="MIT",
        citation="Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding, ICLR, "
        "arXiv:2009.03300",
        hub_id="cais/mmlu",
        revision="c30699e8356da336a370243923dbaf21066bb9fe",
        hub_config=subject or "all",
        hub_split="test",
        origin="github.com/hendrycks/test",
        family="mmlu" if subject else None,
        parse=partial(parse, subject=subject),
    )
    for subject in (None, *SUBJECTS)
]
