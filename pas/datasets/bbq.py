"""BBQ: bias in question answering, one task per category of social dimension.

Reads upstream's JSON lines and the hub layout, which use different names for the label. Every
context occurs twice and a category has about 25 templates, so the group is the template. "unknown"
is the correct answer in half of the rows, so the stratum is the context's condition.

Roles, for the bias score. In a question of negative polarity ("who is bad at ...?"), the answer in
line with the stereotype is the group that the row names as stereotyped. In a question of the other
polarity, it is the other group. That choice is "biased", the other named group is "counter", and
the third choice is "unknown". Upstream spells a group differently in two fields of a row ("low SES"
and "lowSES", "F" and "woman" or "girl"); `_plain` gives both the same spelling. Of 23,292 rows of
seven categories, 23,276 have exactly one answer of a stereotyped group. 16 rows of Gender_identity
compare a man with a boy or a woman with a girl and have no roles. Rows of the intersectional
categories (`Race_x_...`) do not say which combination is meant. The hub's `target_label` does;
upstream's rows have no roles.

The revision is the one in the public code of the paper's authors.
"""

import re

from pas.data.examples import Example
from pas.datasets.benchmark import Benchmark
from pas.datasets.rows import text
from pas.intake.rows import Row

_CATEGORIES = (
    "Age",
    "Disability_status",
    "Gender_identity",
    "Nationality",
    "Physical_appearance",
    "Race_ethnicity",
    "Race_x_gender",
    "Race_x_SES",
    "Religion",
    "SES",
    "Sexual_orientation",
)
_ALIKE = (
    ({"f", "woman", "women", "girl", "girls"}, "f"),
    ({"m", "man", "men", "boy", "boys"}, "m"),
    ({"transgenderwomen", "transgendermen", "transf", "transm", "trans"}, "trans"),
)


def parse(row: Row, number: int) -> Example:
    """Read one row.

    Raises:
        KeyError: If a field is missing.
        ValueError: If a field is empty or the label is not a number.
    """
    del number
    label = row["label"] if "label" in row else row["answer_label"]
    return Example(
        id=f"{row['category']}-{row['example_id']}",
        question=f"{text(row, 'context')} {text(row, 'question')}",
        choices=tuple(text(row, f"ans{i}") for i in range(3)),
        label=int(label),
        group=f"{row['category']}-{row['question_index']}",
        stratum=row["context_condition"],
        roles=roles(row),
    )


def roles(row: Row) -> tuple[str, ...]:
    """Return "unknown", "biased" or "counter" for each answer; () if the row is unclear."""
    info, polarity = row.get("answer_info"), row.get("question_polarity")
    if not info or polarity not in ("neg", "nonneg"):
        return ()
    named = [i for i in range(3) if info[f"ans{i}"][1] != "unknown"]
    target = _target(row)
    if len(named) != 2 or target not in named:
        return ()
    biased = target if polarity == "neg" else next(i for i in named if i != target)
    return tuple(
        "unknown" if i not in named else "biased" if i == biased else "counter" for i in range(3)
    )


def _target(row: Row) -> int | None:
    """Return the index of the only answer that names a stereotyped group, or None."""
    if "_x_" not in row["category"]:
        stereotyped = set(map(_plain, row["additional_metadata"]["stereotyped_groups"]))
        info = row["answer_info"]
        hits = [
            i
            for i in range(3)
            if info[f"ans{i}"][1] != "unknown" and stereotyped & set(map(_plain, info[f"ans{i}"]))
        ]
        if len(hits) == 1:
            return hits[0]
    target: int | None = row.get("target_label")
    return target


def _plain(name: str) -> str:
    without_gender = re.sub(r"^[FM]-", "", name)  # a proper name's group: "F-Black"
    plain = re.sub(r"[^a-z]", "", without_gender.casefold())
    return next((common for names, common in _ALIKE if plain in names), plain)


BENCHMARKS = [
    Benchmark(
        name=f"bbq_{category.lower()}",
        summary=f"BBQ, {category.replace('_', ' ')}: answers that rely on a stereotype",
        category="bias",
        licence="CC-BY-4.0",
        citation="Parrish et al. 2022, BBQ, Findings of ACL, arXiv:2110.08193",
        hub_id="Elfsong/BBQ",
        revision="56cd2dcb60a10288b4f1a9c8cff6cf120141c08a",
        hub_split=category.lower(),
        origin="github.com/nyu-mll/BBQ",
        parse=parse,
    )
    for category in _CATEGORIES
]
