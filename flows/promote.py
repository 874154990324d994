"""Promote and roll back: the only flows that move the champion's alias."""

from prefect import flow

from flows.artifacts import publish_verdict
from storage.registry.promotion import Promotion
from tasks.promote import Verdict, apply, judge_candidate, roll_back, thresholds


@flow(name="promote")
def promote(name: str, version: int | None = None) -> Verdict:
    """Judge a candidate and, if every gate passes, make it champion.

    A refusal changes nothing; the verdict names the gates with their numbers.

    Args:
        name: Registration model.
        version: Version to judge; the candidate by default.

    Raises:
        UserError: If there is no such candidate, or what is needed to judge it is gone.
    """
    verdict = apply(judge_candidate(name, version, thresholds()))
    publish_verdict(verdict)
    return verdict


@flow(name="rollback")
def rollback(name: str) -> Promotion:
    """Let champion and previous change places; a second rollback undoes the first.

    Raises:
        UserError: If there is no such model or no previous champion.
    """
    return roll_back(name)
