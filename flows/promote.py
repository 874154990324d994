"""Promote, roll back and reconcile: the only flows that move the champion's alias."""

import logging

from prefect import flow

from flows.artifacts import publish_decision, publish_rollback
from flows.events import CandidateRefused, ChampionPromoted, ChampionRolledBack
from flows.states import add_to_name, ended
from pas.errors import UserError
from storage.registry.promotion import Promotion
from storage.registry.versions import list_versions
from tasks import resources
from tasks.promote import (
    Decision,
    Overrule,
    apply,
    find_unjudged,
    judge_candidate,
    repair,
    roll_back,
)

log = logging.getLogger("pas")
_LONGEST = 6 * 3600  # seconds: a decision that hangs must not hold its place for ever
_ATTEMPTS = 5  # judgements of a version while others keep changing the champion


@flow(name="promote", flow_run_name="promote {name}", timeout_seconds=_LONGEST)
def promote(
    name: str,
    version: int | None = None,
    accept: tuple[str, ...] = (),
    reason: str = "",
    automatic: bool = False,
) -> Decision:
    """Make a candidate champion if no blocking check fails and it beats the champion.

    A refusal moves no alias; the decision names every check with its numbers, and is recorded.

    Args:
        name: Registered model.
        version: Version to judge; the candidate by default.
        accept: Findings to accept although they fail, by check or verdict, such as "damaging".
        reason: Why they are accepted; kept in the record.
        automatic: Nobody asks for it, as with the event of a registration: a vector that was
            refused before is refused again.

    Raises:
        UserError: If there is no such candidate, its evidence is gone, or an accepted
            check did not fail.
    """
    decision = _decide(name, version, Overrule(tuple(accept), reason), automatic)
    add_to_name(f", version {decision.version}")
    state = "Promoted" if decision.promoted else "Unchanged" if decision.unchanged else "Refused"
    return ended(state, f"version {decision.version}: {decision.summary}", decision)


@flow(name="rollback", flow_run_name="roll back {name}", timeout_seconds=_LONGEST)
def rollback(name: str) -> Promotion:
    """Exchange champion and previous; a second rollback undoes the first.

    Args:
        name: Registered model.

    Raises:
        UserError: If there is no such model or no previous champion.
    """
    done = roll_back(name)
    ChampionRolledBack(name, done.version, done.replaced).emit()
    publish_rollback(done)
    said = f"version {done.version} is champion in place of version {done.replaced}"
    return ended("Rolled back", said, done)


@flow(name="reconcile", flow_run_name="reconcile", timeout_seconds=_LONGEST)
def reconcile() -> list[Decision]:
    """Finish promotions and rollbacks that were cut off, and judge what was never judged.

    A training registers its candidate before it sends the event that starts promotion. If the
    Prefect server is away at that moment, or the promotion fails, the candidate waits here. What
    cannot be judged, such as a vector without evidence, is told in the log and tried again by the
    next run.
    """
    for name in sorted({version.name for version in list_versions(resources.registry())}):
        finished = repair(name)
        if finished is not None:
            log.info(
                "%s: the %s of version %d was cut off; %s",
                *(name, finished.action, finished.version, finished.sentence),
            )
    decisions = []
    for name, version in find_unjudged():
        try:
            decisions.append(_decide(name, version, Overrule(), automatic=True))
        except UserError as error:
            log.warning("%s version %d cannot be judged: %s", name, version, error)
        else:
            log.info("%s version %d: %s", name, version, decisions[-1].summary)
    if not decisions:
        log.info("no version is waiting for a decision")
    said = "; ".join(f"{d.name} version {d.version}: {d.summary}" for d in decisions)
    return ended("Reconciled", said or "no version was waiting for a decision", decisions)


def _decide(name: str, version: int | None, overrule: Overrule, automatic: bool) -> Decision:
    for _ in range(_ATTEMPTS):
        decision = apply(judge_candidate(name, version, overrule, automatic))
        if decision is not None:
            _tell(decision)
            publish_decision(decision)
            return decision
    raise UserError(
        f"{name}: the champion changed {_ATTEMPTS} times while the candidate was judged; try again"
    )


def _tell(decision: Decision) -> None:
    """Emit the event of a decision; there is none where nothing came of it."""
    name, version = decision.name, decision.version
    if decision.promoted:
        accepted = decision.overrule.accepted
        ChampionPromoted(name, version, decision.replaced, accepted).emit()
    elif not decision.unchanged:
        checks = tuple(finding.check for finding in decision.refused)
        CandidateRefused(name, version, checks, decision.summary).emit()
