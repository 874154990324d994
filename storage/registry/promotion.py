"""Which version of a vector is served: promote, refuse, roll back, and repair what was cut off.

Each decision is recorded before the aliases move, and marked as done afterwards. Everything that
reads and moves aliases holds the vector's lock and first carries out what another run began, so a
process may die between any two writes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.errors import UserError
from storage.registry.client import client
from storage.registry.lock import exclusive
from storage.registry.records import (
    Action,
    Record,
    history,
    judged,
    next_time,
    write_record,
)
from storage.registry.versions import (
    CANDIDATE,
    CHAMPION,
    DECISION_TAG,
    LAST_DECISION_TAG,
    PREVIOUS,
    TAG_LIMIT,
    VectorVersion,
    content_of,
    find_aliases,
    find_versions,
    list_versions,
    resolve,
)
from storage.settings import Registry


class Judgement(NamedTuple):
    """Why a version is promoted or refused.

    Attributes:
        findings: What the checks found, JSON-able.
        accepted: Findings that were accepted although they failed.
        reason: Why they were accepted.
        automatic: Whether no person asked for the judgement.
        against: The champion that the version was compared with; 0 if there was none, None if it
            does not matter which one it replaces.
    """

    findings: Sequence[Mapping[str, Any]] = ()
    accepted: Sequence[str] = ()
    reason: str = ""
    automatic: bool = False
    against: int | None = None


NO_JUDGEMENT = Judgement()


class Promotion(NamedTuple):
    """The version that is champion now and the one it replaced, if any."""

    name: str
    version: int
    replaced: int | None


class Objections(NamedTuple):
    """What the history holds against a vector.

    Attributes:
        rolled_back: The rollback that replaced it, unless it has been champion again since.
        refused: Its last refusal, unless it has been promoted since.
    """

    rolled_back: Record | None
    refused: Record | None


class ChampionChanged(Exception):
    """Another champion was made after the judgement: judge again."""


class _Standing(NamedTuple):
    """A vector's state, read under its lock: records, aliases, and the versions that exist."""

    past: list[Record]
    aliases: dict[str, int]
    versions: dict[int, VectorVersion]


def promote(
    registry: Registry, name: str, version: int, judgement: Judgement = NO_JUDGEMENT
) -> Promotion:
    """Make a version the champion, and the old champion `previous`.

    At no moment is there no champion. Repeating a promotion changes nothing.

    Args:
        registry: The store.
        name: Registered model.
        version: One of its versions.
        judgement: Why; kept in the record.

    Raises:
        UserError: If there is no such version.
        ChampionChanged: If the champion is not the one it was judged against.
    """
    chosen = resolve(registry, f"{name}:{version}").version
    with exclusive(registry, name):
        standing = _settled(registry, name)
        if standing.aliases.get(CHAMPION) == chosen:
            return Promotion(name, chosen, standing.aliases.get(PREVIOUS))
        _check_champion(standing, judgement)
        record = _record(registry, standing, "promote", chosen, judgement)
        _carry_out(registry, name, record, standing)
    return Promotion(name, chosen, record.replaced)


def refuse(registry: Registry, name: str, version: int, judgement: Judgement) -> None:
    """Record that a version is not promoted.

    Raises:
        UserError: If there is no such version.
        ChampionChanged: If the champion is not the one it was judged against.
    """
    _note(registry, name, version, "refuse", judgement)


def keep(registry: Registry, name: str, version: int, judgement: Judgement) -> None:
    """Record, unless something is recorded already, that the champion holds a version's vector.

    Raises:
        UserError: If there is no such version.
        ChampionChanged: If the champion is not the one it was judged against.
    """
    _note(registry, name, version, "keep", judgement)


def rollback(registry: Registry, name: str) -> Promotion:
    """Exchange champion and previous, so that a second rollback undoes the first.

    Raises:
        UserError: If there is no previous champion, or it was deleted.
    """
    find_aliases(registry, name)  # a wrong name is told before the lock of it is taken
    with exclusive(registry, name):
        standing = _settled(registry, name)
        champion, previous = (standing.aliases.get(alias) for alias in (CHAMPION, PREVIOUS))
        problem = None
        if previous is None or previous == champion:
            problem = "there is no previous champion to roll back to"
        elif previous not in standing.versions:
            problem = f"the previous champion, version {previous}, was deleted"
        if problem is not None or previous is None:
            raise UserError(
                f"vector {name}: {problem} (champion: {champion or 'none'}); promote a version "
                "instead"
            )
        record = _record(registry, standing, "rollback", previous)
        _carry_out(registry, name, record, standing)
    return Promotion(name, previous, champion)


def settle(registry: Registry, name: str) -> Record | None:
    """Carry out a decision that a run began and did not finish; return it, if there was one.

    Raises:
        UserError: If there is no such name.
    """
    before = history(registry, name)
    with exclusive(registry, name):
        after = _settled(registry, name).past
    return next((new for old, new in zip(before, after, strict=False) if old != new), None)


def unjudged(registry: Registry) -> list[VectorVersion]:
    """Return the versions of every vector that no decision was made about, oldest first."""
    versions = list_versions(registry)
    known = {name: judged(history(registry, name)) for name in {v.name for v in versions}}
    return [v for v in reversed(versions) if v.version not in known[v.name]]


def objections(registry: Registry, name: str, content: str) -> Objections:
    """Return what the history holds against a vector, whichever version it was in.

    Args:
        registry: The store.
        name: Registered model.
        content: `SteeringVector.content`.

    Raises:
        UserError: If there is no such name.
    """
    past = history(registry, name)
    contents: dict[int, str | None] = {r.version: r.content for r in past if r.content}
    versions = find_versions(registry, name)

    def held(number: int | None) -> bool:
        if number is not None and number not in contents and number in versions:
            contents[number] = content_of(registry, versions[number])
        return number is not None and contents.get(number) == content

    rolled_back = refused = None
    for record in past:
        if record.state == "undone":
            continue
        if record.action == "refuse" and held(record.version):
            refused = record
        if record.action == "promote" and held(record.version):
            rolled_back = refused = None
        if record.action == "rollback":
            # The same vector may be in both versions: then it is champion again.
            if held(record.version):
                rolled_back = None
            elif held(record.replaced):
                rolled_back = record
    return Objections(rolled_back, refused)


def _note(
    registry: Registry, name: str, version: int, action: Action, judgement: Judgement
) -> None:
    chosen = resolve(registry, f"{name}:{version}").version
    with exclusive(registry, name):
        standing = _settled(registry, name)
        _check_champion(standing, judgement)
        if action == "keep" and chosen in judged(standing.past):
            return
        record = _record(registry, standing, action, chosen, judgement)
        write_record(registry, name, record)
        _tell(registry, name, record)


def _check_champion(standing: _Standing, judgement: Judgement) -> None:
    champion = standing.aliases.get(CHAMPION, 0)
    if judgement.against not in (None, champion):
        raise ChampionChanged(
            f"judged against version {judgement.against or 'none'}, the champion is "
            f"{champion or 'none'}"
        )


def _record(
    registry: Registry,
    standing: _Standing,
    action: Action,
    version: int,
    judgement: Judgement = NO_JUDGEMENT,
) -> Record:
    moves = action in ("promote", "rollback")
    return Record(
        time=next_time(standing.past),
        action=action,
        version=version,
        replaced=standing.aliases.get(CHAMPION) if moves else None,
        content=content_of(registry, standing.versions[version]),
        findings=judgement.findings,
        accepted=judgement.accepted,
        reason=judgement.reason,
        automatic=judgement.automatic,
        state="begun" if moves else "done",
    )


def _carry_out(registry: Registry, name: str, record: Record, standing: _Standing) -> None:
    """Record a decision and move the aliases as it says; every step may be repeated.

    `previous` is set while the old champion still has its alias, which then moves in one write.
    """
    store = client(registry)
    write_record(registry, name, record)
    aliases, replaced = standing.aliases, record.replaced in standing.versions
    if replaced:
        store.set_registered_model_alias(name, PREVIOUS, str(record.replaced))
    elif aliases.get(PREVIOUS) == record.version:
        store.delete_registered_model_alias(name, PREVIOUS)
    store.set_registered_model_alias(name, CHAMPION, str(record.version))
    if aliases.get(CANDIDATE) == record.version:
        store.delete_registered_model_alias(name, CANDIDATE)
    _tell(registry, name, record, replaced=replaced)
    write_record(registry, name, record._replace(state="done"))


def _tell(registry: Registry, name: str, record: Record, *, replaced: bool = False) -> None:
    """Say on MLflow's pages of the version, of the one it replaced, and of the vector, what it is.

    Args:
        registry: The store.
        name: Registered model.
        record: The decision.
        replaced: Whether the version that it replaced is still there.
    """
    store, sentence = client(registry), record.sentence[:TAG_LIMIT]
    store.set_model_version_tag(name, str(record.version), DECISION_TAG, sentence)
    if replaced:
        store.set_model_version_tag(
            name, str(record.replaced), DECISION_TAG, record.sentence_for_replaced
        )
    store.set_registered_model_tag(
        name, LAST_DECISION_TAG, f"Version {record.version}: {sentence}"[:TAG_LIMIT]
    )


def _settled(registry: Registry, name: str) -> _Standing:
    """Return a vector's state, after carrying out what another run began. Needs the lock."""
    standing = _read(registry, name)
    moves = [record for record in standing.past if record.moves]
    champion, previous = (standing.aliases.get(alias) for alias in (CHAMPION, PREVIOUS))
    last = moves[-1] if moves else None
    if last is not None and last.state == "begun":
        if last.version in standing.versions and champion in (last.version, last.replaced):
            _carry_out(registry, name, last, standing)
        else:
            # Somebody has moved the aliases since, or removed the version.
            write_record(registry, name, last._replace(state="undone"))
    elif champion is not None and champion == previous:
        # Older versions set `previous` first, then recorded, and moved the champion last.
        if last is not None and last.replaced == champion and last.version in standing.versions:
            _carry_out(registry, name, last, standing)
        elif last is not None and last.replaced in standing.versions:
            client(registry).set_registered_model_alias(name, PREVIOUS, str(last.replaced))
        else:
            client(registry).delete_registered_model_alias(name, PREVIOUS)
    else:
        return standing
    return _read(registry, name)


def _read(registry: Registry, name: str) -> _Standing:
    return _Standing(
        history(registry, name), find_aliases(registry, name), find_versions(registry, name)
    )
