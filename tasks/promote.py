"""Promote: a candidate whose gain is real and that beats the champion on the same items."""

from collections.abc import Sequence
from typing import NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE

from pas.errors import UserError
from pas.evidence.checks import Finding
from pas.evidence.evaluation import Evaluation
from pas.evidence.verdict import verdict
from pas.steering.vector import SteeringVector
from storage.registry.promotion import (
    ChampionChanged,
    Judgement,
    Promotion,
    keep,
    objections,
    promote,
    refuse,
    rollback,
    settle,
    unjudged,
)
from storage.registry.records import Record
from storage.registry.versions import (
    CHAMPION,
    VectorVersion,
    find_aliases,
    find_versions,
    load_vector,
    resolve,
)
from tasks import resources
from tasks.compare import CHAMPION_CHECK, champion_finding, compare_with_champion

ROLLED_BACK_CHECK, REFUSED_CHECK = "rolled back", "refused before"


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
        automatic: Whether no person asked for it.
    """

    name: str
    version: int
    label: str
    promoted: bool
    unchanged: bool
    replaced: int | None
    findings: tuple[Finding, ...]
    overrule: Overrule = Overrule()
    automatic: bool = False

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
    never = (CHAMPION_CHECK, REFUSED_CHECK)
    failed = [f for f in findings if f.blocks and not f.passed and f.check not in never]
    known = {name for f in failed for name in (f.check, f.label)}
    unknown = [name for name in overrule.accepted if name not in known]
    if unknown:
        choices = ", ".join(dict.fromkeys(f.label for f in failed)) or "nothing: no check failed"
        raise UserError(
            f"--accept {unknown[0]}: that is not a finding of this vector. To accept: {choices}"
        )


@task(name="judge", task_run_name="judge {name}", cache_policy=NO_CACHE)
def judge_candidate(
    name: str, version: int | None, overrule: Overrule, automatic: bool = False
) -> Decision:
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
    number = find_aliases(registry, name).get(CHAMPION)
    champion = None if number is None else find_versions(registry, name).get(number)
    held = None if champion is None else load_vector(registry, champion)
    unchanged = held is not None and held.adds_the_same_as(vector)
    findings = [*judged.findings, *_against_history(name, vector, automatic)]
    if champion is None or held is None or unchanged:
        findings.append(_nothing_to_compare(evaluation, number, unchanged))
    else:
        findings += compare_with_champion(candidate, vector, champion, held)
    check_overrule(findings, overrule)
    return Decision(
        name,
        candidate.version,
        judged.label,
        False,
        unchanged,
        number,
        tuple(findings),
        overrule,
        automatic,
    )


def _against_history(name: str, vector: SteeringVector, automatic: bool) -> list[Finding]:
    """Return whether the same vector was rolled back from, or refused if nobody asks for it."""
    rolled_back, refused = objections(resources.registry(), name, vector.content)
    found = [
        Finding(
            check=ROLLED_BACK_CHECK,
            label=ROLLED_BACK_CHECK,
            passed=rolled_back is None,
            blocks=True,
            measured="no"
            if rolled_back is None
            else f"as version {rolled_back.replaced}, on {rolled_back.day}",
            needed="no rollback from the same vector",
            explanation="Nobody rolled back from this vector."
            if rolled_back is None
            else "This very vector was champion and was rolled back from.",
        )
    ]
    if automatic and refused is not None:
        found.append(
            Finding(
                check=REFUSED_CHECK,
                label=REFUSED_CHECK,
                passed=False,
                blocks=True,
                measured=f"as version {refused.version}, on {refused.day}",
                needed="no earlier refusal, unless somebody asks",
                explanation="This very vector was refused before: ask for it with pas promote.",
            )
        )
    return found


def _nothing_to_compare(evaluation: Evaluation, number: int | None, unchanged: bool) -> Finding:
    explanation = "There is no champion to compare with."
    if unchanged:
        explanation = f"The champion, version {number}, holds this very vector."
    elif number is not None:
        explanation = f"The champion, version {number}, was deleted: nothing to compare with."
    return champion_finding(True, f"accuracy {evaluation.test.steered_accuracy:.4f}", explanation)


@task(
    name="move-aliases",
    task_run_name="record the decision on {decision.name}",
    retries=2,
    retry_delay_seconds=[1, 10],
    cache_policy=NO_CACHE,
)
def apply(decision: Decision) -> Decision | None:
    """Record the decision, and make the candidate champion unless something refuses it.

    Returns:
        The decision; None if there is another champion now than the one it was judged against.
    """
    registry, name, version = resources.registry(), decision.name, decision.version
    judgement = Judgement(
        [finding._asdict() for finding in decision.findings],
        decision.overrule.accepted,
        decision.overrule.reason,
        decision.automatic,
        against=decision.replaced or 0,
    )
    try:
        if decision.unchanged:
            keep(registry, name, version, judgement)
        elif decision.refused:
            refuse(registry, name, version, judgement)
        else:
            done = promote(registry, name, version, judgement)
            return decision._replace(promoted=True, replaced=done.replaced)
    except ChampionChanged:
        return None
    return decision


@task(name="repair", task_run_name="repair {name}", cache_policy=NO_CACHE)
def repair(name: str) -> Record | None:
    """Carry out a promotion or rollback that was cut off; return it, if there was one."""
    return settle(resources.registry(), name)


@task(name="find-unjudged", task_run_name="find what was never judged", cache_policy=NO_CACHE)
def find_unjudged() -> list[tuple[str, int]]:
    """Return name and number of the versions that no decision was made about, oldest first."""
    return [(version.name, version.version) for version in unjudged(resources.registry())]


@task(name="roll-back", task_run_name="roll back {name}", cache_policy=NO_CACHE)
def roll_back(name: str) -> Promotion:
    """Exchange champion and previous.

    Raises:
        UserError: If there is no such model or no previous champion.
    """
    return rollback(resources.registry(), name)
