"""Compare a candidate with the champion, on test items that neither of them was made from.

docs/method.md, "Comparison with the champion".
"""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

import numpy as np
import pyarrow as pa

from pas.data.examples import Example
from pas.engine.scoring import ScoringRule, prepare
from pas.errors import UserError
from pas.evidence.checks import Finding
from pas.evidence.paired import mcnemar
from pas.methods.strengths import configuration_of
from pas.steering.vector import SteeringVector
from storage.lake.tables import table_address
from storage.lake.verification import intact
from storage.registry.versions import VectorVersion
from tasks import resources
from tasks.answers import TEST, answer_with, run_answers

CHAMPION_CHECK = "champion"
UNSEEN_CHECK = "comparable items"
LEAST_ITEMS = 20
"""Fewest items to compare on. Each of 20 items is 0.05 of the accuracy: fewer tell nothing."""

Item = Mapping[str, Any]  # a row of the table `items`


def compare_with_champion(
    candidate: VectorVersion,
    vector: SteeringVector,
    champion: VectorVersion,
    held: SteeringVector,
) -> list[Finding]:
    """Return whether the comparison is possible and, if so, which vector is better.

    Args:
        candidate: The version to compare.
        vector: Its vector.
        champion: The version that is served.
        held: Its vector, which is another one.

    Raises:
        UserError: If the lake no longer has the candidate's items or answers.
    """
    table = _table("items", candidate)
    answers = run_answers(_table("predictions", candidate), table)[TEST]
    items = [item for item in table.to_pylist() if item["split"] == TEST]
    try:
        used = [item for item in _table("items", champion).to_pylist() if item["split"] != TEST]
    except UserError as error:
        return [_comparable(False, "unknown", str(error))]
    new = unseen(items, used)
    counted = f"{len(new)} of {len(items)} test items"
    if len(new) < LEAST_ITEMS:
        return [
            _comparable(
                False,
                counted,
                "Too few items that neither has seen: the others, or items of their groups, were "
                "used to make the champion.",
            )
        ]
    rule = ScoringRule(**vector.provenance["rule"], prompt=vector.prompt)
    where = [answers.item_ids.index(item["item_id"]) for item in new]
    ours = answers.correct(configuration_of(vector))[where]
    theirs = correct_answers(new, rule, held)
    p_value = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    passed = bool(ours.sum() > theirs.sum())
    return [
        _comparable(True, counted, "The champion was not made from these items."),
        champion_finding(
            passed,
            f"accuracy {ours.mean():.4f}, champion {theirs.mean():.4f} on {len(new)} items "
            f"(p {p_value:.2g})",
            "The vector is better than the champion."
            if passed
            else "The champion answers the same items as well or better.",
        ),
    ]


def champion_finding(passed: bool, measured: str, explanation: str) -> Finding:
    """Return the result of the comparison as a row of the decision's table."""
    return Finding(
        check=CHAMPION_CHECK,
        label="no better than the champion",
        passed=passed,
        blocks=True,
        measured=measured,
        needed="above the champion on the same test items",
        explanation=explanation,
    )


def unseen(items: Sequence[Item], used: Sequence[Item]) -> list[Item]:
    """Return the items that are not among the used ones.

    An item is one of them if its id, its group, or its question with the set of its choices is.
    Ids alone say little where two data files number their rows.

    Args:
        items: Rows of the table `items`.
        used: Rows of another run's.
    """
    ids, groups = {item["item_id"] for item in used}, {item["group_id"] for item in used}
    contents = {_content(item) for item in used}
    return [
        item
        for item in items
        if item["item_id"] not in ids
        and item["group_id"] not in groups
        and _content(item) not in contents
    ]


def correct_answers(items: Sequence[Item], rule: ScoringRule, vector: SteeringVector) -> np.ndarray:
    """Ask the vector's model, steered by it, and return which answers are correct: [n_items] bool.

    Args:
        items: Rows of the table `items`.
        rule: How they are asked.
        vector: The vector.
    """
    examples = [
        Example(i["item_id"], i["prompt"], tuple(i["choices"]), i["label"], i["group_id"])
        for i in items
    ]
    model = resources.model(vector.model)
    queries = [prepare(model.info, e.question, e.choices, e.label, rule) for e in examples]
    return answer_with(vector, examples, queries, rule).correct(configuration_of(vector))


def _comparable(passed: bool, measured: str, explanation: str) -> Finding:
    return Finding(
        check=UNSEEN_CHECK,
        label="not comparable",
        passed=passed,
        blocks=True,
        measured=measured,
        needed=f"at least {LEAST_ITEMS} test items that the champion was not made from",
        explanation=explanation,
    )


def _content(item: Item) -> tuple[str, frozenset[str]]:
    """Return the question, without the lettered choices, and the choices in no order."""
    question = item["prompt"]
    for letter, choice in zip(ascii_uppercase, item["choices"], strict=False):
        question = question.replace(f"\n{letter}: {choice}", "", 1)
    return question, frozenset(item["choices"])


def _table(name: str, version: VectorVersion) -> pa.Table:
    lake = resources.lake()
    address = table_address(lake, name, version.run_id)
    if not intact(lake, address):
        raise UserError(
            f"{version.name}: the {name} of version {version.version} are not in the lake "
            f"{lake.name}. Set PAS_LAKE to the lake it was trained with, or "
            "train it again."
        )
    return lake.read_table(address)
