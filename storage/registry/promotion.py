"""Which version of a vector is served: promote, roll back, and the record of both."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pas.errors import UserError
from storage.registry.client import client
from storage.registry.versions import (
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    TAG_LIMIT,
    find_aliases,
    find_model,
    resolve,
)
from storage.settings import Registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROMOTION_TAG = "pas.promotion."
_REASON_LIMIT = 1000  # characters


class Promotion(NamedTuple):
    """The version that is champion now and the one it replaced, if any."""

    name: str
    version: int
    replaced: int | None


def promote(
    registry: Registry,
    name: str,
    version: int,
    findings: Sequence[Mapping[str, Any]] = (),
    *,
    accepted: Sequence[str] = (),
    reason: str = "",
) -> Promotion:
    """Make a version the champion, and the old champion `previous`.

    At no moment is there no champion: `previous` is set while the old champion still has its
    alias, which then moves in one write. Repeating a promotion changes nothing.

    Args:
        registry: The store.
        name: Registered model.
        version: One of its versions.
        findings: What the checks found, JSON-able; kept in the promotion's record.
        accepted: Findings that were accepted although they failed; kept with the reason in the
            record and on the version.
        reason: Why.

    Raises:
        UserError: If there is no such version.
    """
    chosen = resolve(registry, f"{name}:{version}").version
    aliases = find_aliases(registry, name)
    store = client(registry)
    old = aliases.get(CHAMPION)
    done = Promotion(name, chosen, aliases.get(PREVIOUS) if old == chosen else old)
    if old != chosen:
        if old is not None:
            store.set_registered_model_alias(name, PREVIOUS, str(old))
        # The record comes first: a change without a record would be worse than the reverse.
        _record(store, "promote", done, findings, accepted, reason)
        if accepted:
            for key, value in (("accepted", ", ".join(accepted)), ("accepted_reason", reason)):
                store.set_model_version_tag(name, str(chosen), key, value[:TAG_LIMIT])
        store.set_registered_model_alias(name, CHAMPION, str(chosen))
    if aliases.get(CANDIDATE) == chosen:
        store.delete_registered_model_alias(name, CANDIDATE)
    return done


def rollback(registry: Registry, name: str) -> Promotion:
    """Exchange champion and previous, so that a second rollback undoes the first.

    Raises:
        UserError: If there is no previous champion.
    """
    aliases = find_aliases(registry, name)
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if previous is None or previous == champion:
        raise UserError(
            f"vector {name}: there is no previous champion to roll back to "
            f"(champion: {champion or 'none'}); promote a version instead"
        )
    store = client(registry)
    done = Promotion(name, previous, champion)
    _record(store, "rollback", done)
    store.set_registered_model_alias(name, CHAMPION, str(previous))
    if champion is not None:
        store.set_registered_model_alias(name, PREVIOUS, str(champion))
    return done


def history(registry: Registry, name: str) -> list[dict[str, Any]]:
    """Return the promotions and rollbacks of a vector, oldest first.

    Each has `time` (ISO 8601, UTC), `action`, `version`, `replaced` and `findings`. A promotion
    that overruled checks also has `accepted` and `reason`. Records of older versions have `gates`.

    Raises:
        UserError: If there is no such name.
    """
    tags = find_model(registry, name).tags
    keys = sorted(key for key in tags if key.startswith(PROMOTION_TAG))
    return [json.loads(tags[key]) for key in keys]


def _record(
    store: "MlflowClient",
    action: str,
    done: Promotion,
    findings: Sequence[Mapping[str, Any]] = (),
    accepted: Sequence[str] = (),
    reason: str = "",
) -> None:
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    facts: dict[str, Any] = {
        "time": time,
        "action": action,
        "version": done.version,
        "replaced": done.replaced,
    }
    if accepted:
        facts |= {"accepted": list(accepted), "reason": reason[:_REASON_LIMIT]}
    # The sentence of a check follows from its other fields, so it is left out first.
    short = [{k: v for k, v in f.items() if k != "explanation"} for f in findings]
    text = json.dumps(facts | {"findings": short}, default=str)
    short = [{k: v[:80] if isinstance(v, str) else v for k, v in f.items()} for f in short]
    left_out = 0
    while len(text) > TAG_LIMIT:
        text = json.dumps(facts | {"findings": short, "findings_left_out": left_out}, default=str)
        short = short[:-1]
        left_out += 1
    store.set_model_version_tag(done.name, str(done.version), PROMOTION_TAG + time, text)
    store.set_registered_model_tag(done.name, PROMOTION_TAG + time, text)
