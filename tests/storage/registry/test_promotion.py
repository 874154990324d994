"""Promotion, refusal and rollback in a real MLflow store, also where the process dies in it."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pas.errors import UserError
from storage.registry import lock, promotion, records
from storage.registry.client import client
from storage.registry.promotion import (
    ChampionChanged,
    Judgement,
    keep,
    objections,
    promote,
    refuse,
    rollback,
    settle,
    unjudged,
)
from storage.registry.records import history
from storage.registry.versions import (
    CANDIDATE,
    find_aliases,
    list_versions,
    resolve,
    stale_aliases,
)
from storage.settings import Registry
from tests.helpers.registries import Died, Dying, add_version, log, vector

NAME = "pas-tiny-toy"
FAILED = {"check": "damage", "passed": False, "blocks": True, "measured": "0.5 nats"}


@pytest.fixture
def registry(tmp_path: Path, empty_database: Path) -> Registry:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))


@pytest.fixture
def three(registry: Registry) -> Registry:
    """A registry with three versions of a vector, of which none is promoted."""
    for strength in (1.0, 2.0, 3.0):
        add_version(registry, NAME, vector(strength))
    return registry


def told(registry: Registry) -> list[tuple[str, int, int | None]]:
    return [(r.action, r.version, r.replaced) for r in history(registry, NAME)]


def test_promote_and_roll_back(three: Registry) -> None:
    client(three).set_registered_model_alias(NAME, CANDIDATE, "3")
    assert resolve(three, NAME).version == 3  # no champion yet: the candidate
    with pytest.raises(UserError, match="no previous champion"):
        rollback(three, NAME)
    findings = [{"check": "significance", "passed": True}]
    assert promote(three, NAME, 1, Judgement(findings)) == (NAME, 1, None)
    assert resolve(three, NAME).version == 1
    assert find_aliases(three, NAME) == {"champion": 1, "candidate": 3}
    assert promote(three, NAME, 3) == (NAME, 3, 1)
    assert find_aliases(three, NAME) == {"champion": 3, "previous": 1}
    assert promote(three, NAME, 3) == (NAME, 3, 1)  # a retry changes nothing
    assert find_aliases(three, NAME) == {"champion": 3, "previous": 1}
    assert rollback(three, NAME) == (NAME, 1, 3)
    assert find_aliases(three, NAME) == {"champion": 1, "previous": 3}
    assert resolve(three, f"{NAME}@champion").version == 1
    assert rollback(three, NAME) == (NAME, 3, 1)
    assert promote(three, NAME, 2) == (NAME, 2, 3)
    assert told(three) == [
        ("promote", 1, None), ("promote", 3, 1), ("rollback", 1, 3), ("rollback", 3, 1),
        ("promote", 2, 3),
    ]  # fmt: skip
    past = history(three, NAME)
    assert past[0].findings == findings and past[0].content == vector(1.0).content
    assert [r.time for r in past] == sorted({r.time for r in past})
    assert {r.state for r in past} == {"done"}
    listed = [(v.version, v.aliases) for v in list_versions(three)]
    assert listed == [(3, ("previous",)), (2, ("champion",)), (1, ())]


def test_each_version_says_in_a_sentence_what_became_of_it(three: Registry) -> None:
    def decision(version: int) -> str:
        return resolve(three, f"{NAME}:{version}").tags["Decision"]

    promote(three, NAME, 1, Judgement(accepted=["damaging"], reason="internal"))
    day = history(three, NAME)[0].day
    assert decision(1) == f"promoted on {day}, although damaging: internal"
    promote(three, NAME, 2)
    assert decision(1) == f"replaced on {day} by version 2"
    assert decision(2) == f"promoted on {day} in place of version 1"
    rollback(three, NAME)
    assert decision(1) == f"champion again since {day}, by a rollback from version 2"
    assert decision(2) == f"rolled back from on {day}; version 1 is champion again"
    refuse(three, NAME, 3, Judgement([{"check": "split", "passed": True, "blocks": True}, FAILED]))
    assert decision(3) == f"refused on {day}: damage (0.5 nats)"
    two = Judgement([FAILED, {"check": "split", "passed": False}])
    refuse(three, NAME, 3, two)
    assert decision(3) == f"refused on {day}: damage (0.5 nats); also split"
    model = client(three).get_registered_model(NAME)
    assert model.tags["Last decision"] == f"Version 3: {decision(3)}"
    assert find_aliases(three, NAME) == {"champion": 1, "previous": 2}
    assert told(three)[-1] == ("refuse", 3, None)


def test_a_judgement_against_another_champion_decides_nothing(three: Registry) -> None:
    promote(three, NAME, 1, Judgement(against=0))
    for decide in (promote, refuse, keep):
        for against in (0, 3):
            with pytest.raises(ChampionChanged):
                decide(three, NAME, 2, Judgement(against=against))
    assert told(three) == [("promote", 1, None)]
    promote(three, NAME, 2, Judgement(against=1))
    # A retry of what was done: the champion has changed to this very version.
    assert promote(three, NAME, 2, Judgement(against=1)) == (NAME, 2, 1)


def test_versions_without_a_decision_are_unjudged(three: Registry) -> None:
    def waiting() -> list[int]:
        return [version.version for version in unjudged(three)]

    assert waiting() == [1, 2, 3]
    promote(three, NAME, 2)
    refuse(three, NAME, 1, Judgement([FAILED]))
    assert waiting() == [3]
    keep(three, NAME, 3, Judgement())
    keep(three, NAME, 3, Judgement())
    keep(three, NAME, 2, Judgement())
    assert waiting() == [] and len(told(three)) == 3


def test_the_history_counts_against_a_vector_in_whatever_version(three: Registry) -> None:
    def found(strength: float) -> tuple[int | None, int | None]:
        rolled_back, refused = objections(three, NAME, vector(strength).content)
        return rolled_back and rolled_back.replaced, refused and refused.version

    promote(three, NAME, 1)
    promote(three, NAME, 2)
    refuse(three, NAME, 3, Judgement([FAILED]))
    assert [found(s) for s in (1.0, 2.0, 3.0)] == [(None, None), (None, None), (None, 3)]
    rollback(three, NAME)
    assert [found(s) for s in (1.0, 2.0, 3.0)] == [(None, None), (2, None), (None, 3)]
    rollback(three, NAME)
    assert [found(s) for s in (1.0, 2.0)] == [(1, None), (None, None)]
    rollback(three, NAME)
    promote(three, NAME, add_version(three, NAME, vector(2.0)), Judgement(accepted=["rolled back"]))
    promote(three, NAME, 3)
    assert [found(s) for s in (2.0, 3.0)] == [(None, None), (None, None)]


def test_a_vector_that_was_deleted_is_remembered(three: Registry) -> None:
    promote(three, NAME, 1)
    promote(three, NAME, 2)
    rollback(three, NAME)
    client(three).delete_model_version(NAME, "2")
    rolled_back, _ = objections(three, NAME, vector(2.0).content)
    assert rolled_back is not None and rolled_back.replaced == 2


def test_versions_from_before_the_tag_are_read(tmp_path: Path, registry: Registry) -> None:
    for strength in (1.0, 2.0):
        log(registry, NAME, vector=vector(strength))
        client(registry).delete_model_version_tag(NAME, f"{strength:g}", "vector_content")
    promote(registry, NAME, 1)
    promote(registry, NAME, 2)
    rollback(registry, NAME)
    rolled_back, _ = objections(registry, NAME, vector(2.0).content)
    assert rolled_back is not None
    shutil.rmtree(tmp_path / "artifacts")
    assert objections(registry, NAME, vector(3.0).content) == (None, None)


def dies(
    monkeypatch: pytest.MonkeyPatch, registry: Registry, writes: int, action: Callable[[], Any]
) -> bool:
    """Run the action in a process that dies when it has made so many writes; did it come to it?"""
    dying = Dying(client(registry), writes)
    with monkeypatch.context() as patch:
        for module in (promotion, records, lock):
            patch.setattr(module, "client", lambda _: dying)
        try:
            action()
        except Died:
            return True
    return False


ACTIONS: dict[str, Callable[[Registry], Any]] = {
    "first promotion": lambda r: promote(r, NAME, 1),
    "promotion": lambda r: promote(r, NAME, 3),
    "rollback": lambda r: rollback(r, NAME),
}


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(action, marks=[pytest.mark.faults] if action != "first promotion" else [])
        for action in ACTIONS
    ],
)
def test_a_death_between_two_writes_is_made_good(
    three: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(lock, "DEAD_AFTER", 0.2)
    if action != "first promotion":
        promote(three, NAME, 1)
        promote(three, NAME, 2)
    client(three).set_registered_model_alias(NAME, CANDIDATE, "3")
    before, past = find_aliases(three, NAME), told(three)
    database = tmp_path / "mlflow.db"
    shutil.copy(database, tmp_path / "before.db")
    outcomes = []
    for writes in range(30):
        shutil.copy(tmp_path / "before.db", database)
        if not dies(monkeypatch, three, writes, lambda: ACTIONS[action](three)):
            break
        champion = find_aliases(three, NAME).get("champion")
        assert champion == before.get("champion") or told(three) != past
        settle(three, NAME)
        outcomes.append((find_aliases(three, NAME), told(three)))
        assert settle(three, NAME) is None
        assert {r.state for r in history(three, NAME)} <= {"done"}
        assert "pas.lock" not in str(client(three).search_registered_models())
    done = (find_aliases(three, NAME), told(three))
    # As it was until the record was written, and as it was to be from then on.
    assert outcomes == [(before, past)] * 2 + [done] * (len(outcomes) - 2)
    assert len(outcomes) >= 6 and done != (before, past)


def test_a_version_that_was_removed_meanwhile_is_not_promoted(
    three: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "DEAD_AFTER", 0.2)
    promote(three, NAME, 1)
    assert dies(monkeypatch, three, 3, lambda: promote(three, NAME, 2))
    client(three).delete_model_version(NAME, "2")
    settled = settle(three, NAME)
    assert settled is not None and settled.state == "undone"
    assert settled.sentence == f"promote of {settled.day} could not be carried out"
    assert find_aliases(three, NAME)["champion"] == 1


def test_what_older_versions_left_half_done_is_made_good(three: Registry) -> None:
    """They set `previous`, recorded under another name, and moved the champion last."""
    store = client(three)
    older = '{"time": "%s", "action": "promote", "version": %d, "replaced": %s, "gates": []}'
    for minute, version, replaced in ((1, 1, "null"), (2, 2, "1")):
        time = f"2026-01-01T00:0{minute}:00.000000Z"
        store.set_registered_model_tag(
            NAME, f"pas.promotion.{time}", older % (time, version, replaced)
        )
    for alias in ("champion", "previous"):
        store.set_registered_model_alias(NAME, alias, "1")
    settle(three, NAME)
    assert find_aliases(three, NAME) == {"champion": 2, "previous": 1}
    assert told(three) == [("promote", 1, None), ("promote", 2, 1)]
    # The next one died before its record.
    store.set_registered_model_alias(NAME, "previous", "2")
    settle(three, NAME)
    assert find_aliases(three, NAME) == {"champion": 2, "previous": 1}


def test_long_findings_fit_a_tag(three: Registry) -> None:
    findings = [{"check": f"check {i}", "measured": "w" * 900} for i in range(80)]
    promote(three, NAME, 1, Judgement(findings))
    refuse(three, NAME, 2, Judgement([f | {"passed": False} for f in findings]))
    tags = client(three).get_registered_model(NAME).tags | resolve(three, f"{NAME}:2").tags
    assert 4000 < max(len(value) for value in tags.values()) <= 5000
    first, _ = history(three, NAME)
    assert len(first.findings) + first.findings_left_out == 80
    assert first.findings[0] == {"check": "check 0", "measured": "w" * 80}


@pytest.fixture
def stale(three: Registry, tmp_path: Path) -> Callable[[str, int], None]:
    """`stale(alias, n)` deletes a version as a store may that keeps its aliases."""

    def delete(alias: str, version: int) -> None:
        client(three).delete_model_version(NAME, str(version))
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
            database.execute(
                "insert into registered_model_aliases (name, alias, version) values (?, ?, ?)",
                (NAME, alias, version),
            )

    return delete


def test_a_champion_that_was_deleted(three: Registry, stale: Callable[[str, int], None]) -> None:
    promote(three, NAME, 1)
    promote(three, NAME, 2)
    stale("champion", 2)
    message = "champion is version 2, which was deleted; promote another one with pas promote"
    for reference in (NAME, f"{NAME}@champion"):
        with pytest.raises(UserError, match=f"{message}.*; there is 1, 3"):
            resolve(three, reference)
    [found] = stale_aliases(three)
    assert message in found.problem
    assert promote(three, NAME, 3, Judgement(against=2)) == (NAME, 3, 2)
    assert find_aliases(three, NAME) == {"champion": 3, "previous": 1}
    assert stale_aliases(three) == []


def test_a_rollback_from_a_champion_that_was_deleted(
    three: Registry, stale: Callable[[str, int], None]
) -> None:
    promote(three, NAME, 1)
    promote(three, NAME, 2)
    stale("champion", 2)
    assert rollback(three, NAME) == (NAME, 1, 2)
    assert find_aliases(three, NAME) == {"champion": 1}


def test_a_previous_champion_that_was_deleted(
    three: Registry, stale: Callable[[str, int], None]
) -> None:
    promote(three, NAME, 1)
    promote(three, NAME, 2)
    stale("previous", 1)
    with pytest.raises(UserError, match="previous champion, version 1, was deleted .champion: 2"):
        rollback(three, NAME)
    assert promote(three, NAME, 3) == (NAME, 3, 2)
