"""Promote and roll back: the only flows that move the champion's alias."""

from prefect import flow

from flows.artifacts import publish_decision
from storage.registry.promotion import Promotion
from tasks.promote import Decision, Overrule, apply, judge_candidate, roll_back


@flow(name="promote")
def promote(
    name: str, version: int | None = None, accept: tuple[str, ...] = (), reason: str = ""
) -> Decision:
    """Make a candidate champion if no blocking check fails and it beats the champion.

    A refusal changes nothing; the decision names every check with its numbers.

    Args:
        name: Registered model.
        version: Version to judge; the candidate by default.
        accept: Findings to accept although they fail, by check or verdict, such as "damaging".
        reason: Why they are accepted; kept in the promotion's record and on the version.

    Raises:
        UserError: If there is no such candidate, its evidence is gone, or an accepted
            check did not fail.
    """
    decision = apply(judge_candidate(name, version, Overrule(tuple(accept), reason)))
    publish_decision(decision)
    return decision


@flow(name="rollback")
def rollback(name: str) -> Promotion:
    """Exchange champion and previous; a second rollback undoes the first.

    Raises:
        UserError: If there is no such model or no previous champion.
    """
    return roll_back(name)
