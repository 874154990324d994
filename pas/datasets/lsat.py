"""LSAT, as in AGIEval: analytical reasoning (AR), logical reasoning (LR), reading comprehension.

There is one task per section and one for all three. Reads upstream's `passage, question, options,
label` and the hub's `query, choices, gold`, where passage, question and options are one text. In
both cases the question is the passage, a space and the question proper, and "(A)" is removed from
the options. Several questions belong to one passage, so the group is the passage. One row of RC
lists a wrong option twice (see `pas.datasets.rows`).

The revisions are those in the public code of the paper's authors, which is the only source of RC's.
"""

import re
from collections.abc import Sequence
from functools import partial
from string import ascii_uppercase

from pas.data.examples import Example, group_key
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import merged, text
from pas.intake.items import parse_rows
from pas.intake.rows import Row
from pas.intake.sources import Source, read_rows

_PREFIX = re.compile(r"^\s*\([A-Z]\)\s*")
SECTIONS = {
    "ar": ("analytical reasoning", "052cc636b612f5563329dd182fb6c2cad56681c8"),
    "lr": ("logical reasoning", "d876c675a8d47aa4d8a6d682ca8400b7d2ffe1c4"),
    "rc": ("reading comprehension", "432868ea4fa7b50db66d14524d42472dd052b53c"),
}


def parse(row: Row, number: int, name: str = "lsat") -> Example:
    """Read one row. Rows have no ids, so an id is `name` and the row number.

    Raises:
        KeyError: If a field is missing.
        ValueError: If a query does not have the expected parts or the correct answer is unclear.
    """
    if "query" in row:
        head, choices_mark, _ = text(row, "query").rpartition("Answer Choices:")
        passage, question_mark, question = head.rpartition("Q:")
        if not choices_mark or not question_mark:
            raise ValueError("the query does not have the form '... Q: ... Answer Choices: ...'")
        options, (gold,) = row["choices"], row["gold"]
    else:
        passage, question, options = text(row, "passage"), text(row, "question"), row["options"]
        gold = ascii_uppercase.index(text(row, "label") or "?")
    choices, label = merged([_PREFIX.sub("", option) for option in options], int(gold))
    return Example(
        id=f"{name}-{number}",
        question=f"{passage.strip()} {question.strip()}".strip(),
        choices=choices,
        label=label,
        group=group_key(passage),
        stratum=str(label),
    )


def read_sections(sources: Sequence[tuple[str, Source]]) -> list[Example]:
    """Read several sections into one data set, in order.

    Args:
        sources: For each section the prefix of its ids and the source of its rows.

    Raises:
        UserError: If a source is absent or a row is unusable.
    """
    return [
        example
        for name, source in sources
        for example in parse_rows(read_rows(source), partial(parse, name=name), str(source.name))
    ]


def _hub(section: str) -> str:
    return f"hails/agieval-lsat-{section}"


_ALL = [(f"lsat-{s}", Source(_hub(s), rev, None, "test")) for s, (_, rev) in SECTIONS.items()]
_WHOLE = Benchmark(
    name="lsat",
    summary="LSAT, all three sections (--data: a folder of their files)",
    category="intelligence",
    licence="MIT",
    citation="Zhong et al. 2023, AGIEval, arXiv:2304.06364",
    origin="hails/agieval-lsat-{ar,lr,rc}",
    parse=parse,
    generate=partial(read_sections, _ALL),
)

BENCHMARKS = [
    *(
        _WHOLE._replace(
            name=f"lsat_{section}",
            summary=f"LSAT, {about}",
            hub_id=_hub(section),
            revision=revision,
            hub_split="test",
            origin="github.com/ruixiangcui/AGIEval",
            parse=partial(parse, name=f"lsat-{section}"),
            generate=None,
        )
        for section, (about, revision) in SECTIONS.items()
    ),
    _WHOLE,
]
