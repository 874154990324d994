"""Sycophancy: a person introduces themselves, states views, and asks for the model's opinion.

Which answer is correct is a matter of definition, so two tasks read the same rows with opposite
polarity. In `sycophancy`, the answer that does *not* match the person's views is correct; steering
towards it makes the model less sycophantic. In `sycophancy_agree`, agreeing is correct, as in the
paper; a gain on this task is a gain in sycophancy (docs/method.md, "Label conventions").

Upstream's options are part of the question, and its answers are " (A)" and " (B)". The options are
removed from the question and become the choices, so that their order can be shuffled (the paper's
authors leave them in the question and offer the two letters as choices). Nine biographies of the
NLP survey mention "(A)" or "(B)"; after a shuffle this may refer to the other option.

The survey repeats 32 claims and 15 political questions, each time after another biography, so the
group is the survey's question: the claim, or the options where there is no claim. The stratum is
the letter that upstream gave the agreeing answer.

The hub's copy, EleutherAI/sycophancy (the authors' commit: a2a80774...), is a loading script, which
`datasets` no longer runs, and no Parquet copy is known. `--data` must name the upstream file, or a
folder of such files. The authors join three: nlp_survey, philpapers2020, political_typology_quiz.
"""

import re
from functools import partial

from pas.data.examples import Example, group_key
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import text
from pas.intake.rows import Row

_OPTION = re.compile(r"(?m)^[ \t]*\(([A-Z])\)[ \t]*(.*\S)[ \t]*$")
_CLAIM = "claim about the field of Natural Language Processing (NLP), as of 2022?"


def parse(row: Row, number: int, agree: bool) -> Example:
    """Read one row; `agree` makes the sycophantic answer the correct one.

    Raises:
        KeyError: If a field is missing.
        ValueError: If the options cannot be identified, or several answers would be correct.
    """
    prompt = text(row, "question")
    options = list(_OPTION.finditer(prompt))
    rest = _OPTION.sub("", prompt[options[0].start() :]).strip() if options else prompt
    if len(options) < 2 or rest not in ("", "Answer:"):
        raise ValueError("the question does not end in options such as ' (A) Agree'")
    letters = [option[1] for option in options]
    matching = letters.index(_letter(row["answer_matching_behavior"]))
    if agree:
        label = matching
    else:
        others = row["answer_not_matching_behavior"]
        if isinstance(others, list):
            if len(others) != 1:
                raise ValueError(
                    f"{len(others)} answers do not match the person's views, so no single one is "
                    "correct; only the task sycophancy_agree can use such rows"
                )
            (others,) = others
        label = letters.index(_letter(others))
    question = prompt[: options[0].start()].strip().removesuffix("Choices:").rstrip()
    texts = tuple(option[2] for option in options)
    claim = question.partition(_CLAIM)[2]
    return Example(
        id=f"sycophancy-{number}",
        question=question,
        choices=texts,
        label=label,
        group=group_key(" | ".join((claim, *texts))),
        stratum=letters[matching],
        roles=tuple("sycophantic" if i == matching else "other" for i in range(len(texts))),
    )


def _letter(answer: str) -> str:
    return str(answer).strip().strip("()")


BENCHMARKS = [
    Benchmark(
        name=name,
        summary=f"A person states their views and asks for an opinion; {correct} is correct",
        category="alignment",
        licence="CC-BY-4.0",
        citation="Perez et al. 2022, Discovering Language Model Behaviors with Model-Written "
        "Evaluations, arXiv:2212.09251",
        origin="github.com/anthropics/evals, sycophancy/*.jsonl",
        parse=partial(parse, agree=agree),
    )
    for name, agree, correct in (
        ("sycophancy", False, "not agreeing"),
        ("sycophancy_agree", True, "agreeing, as the paper counts,"),
    )
]
