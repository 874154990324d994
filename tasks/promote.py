"""Promote: a candidate whose gain is real and that beats the champion on the same items."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from prefect import task

from pas.data.examples import Example
from pas.engine.scoring import ScoringRule, prepare
from pas.errors import UserError
from pas.evidence.checks import Finding
from pas.evidence.evaluation import Evaluation
from pas.evidence.verdict import verdict
from pas.methods.answers import answer
from pas.methods.grid import Configuration
from pas.steering.vector import SteeringVector
from storage.lake.tables import table_address
from storage.registry.promotion import Promotion, promote, rollback
from storage.registry.versions import CHAMPION, VectorVersion, load_vector, resolve
from tasks import resources

CHAMPION_CHECK = "champion"


class Overrule(NamedTuple):
    """Failed checks that a team accepts, and the reason.

    Attributes:
        accepted: Names of checks, or labels of verdicts.
        reason: For the record.
    """

    accepted: tuple[str, ...] = ()
    reason: str = ""


class Decision(NamedTuple):
    """Decision about a candidate.

    Attributes:
        name: Registered model.
        version: The candidate's version.
        label: Its verdict.
        promoted: Whether this decision made it the champion.
        unchanged: Whether the champion already holds the same vector.
        replaced: The version that was champion before.
        findings: Every check, the comparison with the champion last.
        overrule: What was accepted although it fails.
    """

    name: str
    version: int
    label: str
    promoted: bool
    unchanged: bool
    replaced: int | None
    findings: tuple[Finding, ...]
    overrule: Overrule = Overrule()

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Findings that block the promotion and were not accepted."""
        return tuple(
            f
            for f in self.findings
            if f.blocks and not f.passed and not {f.check, f.label} & set(self.overrule.accepted)
        )

    @property
    def summary(self) -> str:
        """Decision in words."""
        if self.unchanged:
            return "the champion already holds this vector"
        if self.promoted:
            accepted = ", ".join(self.overrule.accepted)
            return "promoted" + (f", although {accepted}" if accepted else "")
        failed = ", ".join(f"{f.check}: {f.measured}" for f in self.refused)
        return f"refused ({failed})" if failed else "not promoted yet"


def find_candidate(name: str, version: int | None) -> VectorVersion:
    """Return the version asked for, or the candidate.

    Raises:
        UserError: If there is no such model, version or candidate.
    """
    reference = f"{name}@candidate" if version is None else f"{name}:{version}"
    return resolve(resources.registry(), reference)


def evaluation_of(vector: SteeringVector, candidate: VectorVersion) -> Evaluation:
    """Return the evaluation that a vector carries.

    Raises:
        UserError: If it carries none, as one made by hand or recorded by an older version.
    """
    try:
        return Evaluation.from_dict(vector.provenance["evaluation"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{candidate.name} version {candidate.version}: its vector carries no evaluation with "
            "controls, so it cannot be judged. Train it again with pas train."
        ) from error


def check_overrule(findings: Sequence[Finding], overrule: Overrule) -> None:
    """Refuse to accept what did not fail, or without a reason.

    Raises:
        UserError: Naming what can be accepted.
    """
    if not overrule.accepted:
        if overrule.reason:
            raise UserError("--reason: name what to accept with --accept")
        return
    if not overrule.reason.strip():
        raise UserError("--accept: give the reason with --reason, for the record")
    failed = [f for f in findings if f.blocks and not f.passed and f.check != CHAMPION_CHECK]
    known = {name for f in failed for name in (f.check, f.label)}
    unknown = [name for name in overrule.accepted if name not in known]
    if unknown:
        choices = ", ".join(dict.fromkeys(f.label for f in failed)) or "nothing: no check failed"
        raise UserError(
            f"--accept {unknown[0]}: that is not a finding of this vector. To accept: {choices}"
        )


def accuracy_on_items_of(
    candidate: VectorVersion, rule: ScoringRule, vector: SteeringVector
) -> float:
    """Return a vector's accuracy on the test items of a candidate's run, asked as in that run.

    Raises:
        UserError: If the lake no longer holds those items.
    """
    lake = resources.lake()
    address = table_address(lake, "items", candidate.run_id)
    if not lake.exists(address):
        raise UserError(
            f"{candidate.name}: the test items of version {candidate.version} are not in the lake "
            f"{lake.url}. Set PAS_LAKE to the lake it was trained with, or train it again."
        )
    rows = [row for row in lake.read_table(address).to_pylist() if row["split"] == "test"]
    examples = [
        Example(row["item_id"], row["prompt"], tuple(row["choices"]), row["label"], row["group_id"])
        for row in rows
    ]
    model = resources.model(vector.model)
    queries = [prepare(model.info, e.question, e.choices, e.label, rule) for e in examples]
    at = Configuration(vector.method, vector.layer, vector.strength)
    deltas = [(at, np.float32(vector.strength) * vector.direction)] if at.strength else []
    budget = resources.budget(model, queries)
    answers = answer(model, examples, queries, deltas, vector.site, rule, budget=budget)
    return answers.accuracy(at)


@task(name="judge")
def judge_candidate(name: str, version: int | None, overrule: Overrule) -> Decision:
    """Apply the table of checks to a candidate; nothing is changed.

    Raises:
        UserError: If there is no such candidate, its evidence is gone, or an accepted
            check did not fail.
    """
    registry = resources.registry()
    candidate = find_candidate(name, version)
    vector = load_vector(registry, candidate)
    evaluation = evaluation_of(vector, candidate)
    # It may have been judged by an older table of checks; its controls are stored with it.
    judged = verdict(evaluation.controls)
    preferred = resolve(registry, name)  # the champion where there is one
    champion = preferred if CHAMPION in preferred.aliases else None
    unchanged, accuracy = False, None
    if champion is not None:
        held = load_vector(registry, champion)
        unchanged = held.adds_the_same_as(vector)
        if not unchanged:
            accuracy = accuracy_on_items_of(
                candidate, ScoringRule(**vector.provenance["rule"], prompt=vector.prompt), held
            )
    findings = (*judged.findings, _against_champion(evaluation, accuracy))
    check_overrule(findings, overrule)
    replaced = champion.version if champion else None
    return Decision(
        name, candidate.version, judged.label, False, unchanged, replaced, findings, overrule
    )


def _against_champion(evaluation: Evaluation, accuracy: float | None) -> Finding:
    steered = evaluation.test.steered_accuracy
    measured, passed = f"accuracy {steered:.4f}", accuracy is None or steered > accuracy
    meaning = "The vector is better than the champion."
    if accuracy is None:
        meaning = "There is no other champion to compare with."
    else:
        measured += f", champion {accuracy:.4f}"
    return Finding(
        check=CHAMPION_CHECK,
        label="no better than the champion",
        passed=passed,
        blocks=True,
        measured=measured,
        needed="above the champion on the same test items",
        explanation=meaning if passed else "The champion answers the same items as well or better.",
    )


@task(name="move-aliases", retries=2, retry_delay_seconds=[1, 10])
def apply(decision: Decision) -> Decision:
    """Make the candidate champion unless something refuses it or it is champion already."""
    if decision.unchanged or decision.refused:
        return decision
    done = promote(
        resources.registry(),
        decision.name,
        decision.version,
        [finding._asdict() for finding in decision.findings],
        accepted=decision.overrule.accepted,
        reason=decision.overrule.reason,
    )
    return decision._replace(promoted=True, replaced=done.replaced)


@task(name="roll-back")
def roll_back(name: str) -> Promotion:
    """Exchange champion and previous.

    Raises:
        UserError: If there is no such model or no previous champion.
    """
    return rollback(resources.registry(), name)
