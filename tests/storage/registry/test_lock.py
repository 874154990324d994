"""One promotion at a time: real processes on SQLite and on MLflow's own server."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.registry import lock
from storage.registry.client import client
from storage.registry.lock import LOCK_PREFIX, exclusive
from storage.registry.records import history
from storage.registry.versions import find_aliases, list_versions
from storage.settings import Registry
from tests.helpers.places import ROOT
from tests.helpers.registries import Died, Dying, add_version, vector
from tests.helpers.servers import mlflow_server

NAME = "pas-tiny-crowd"
PROCESSES, TURNS = 4, 6

# Promotes versions and rolls back in turn, as two people in two shells do.
CROWD = """
import random, sys
from pas.errors import UserError
from storage.registry.promotion import promote, rollback
from storage.settings import Registry

registry, mine = Registry(sys.argv[1], sys.argv[2] or None), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(int(sys.argv[4])):
    try:
        promote(registry, sys.argv[5], 1 + (mine + turn) % 3) if turn % 3 else rollback(
            registry, sys.argv[5]
        )
    except UserError as error:
        assert "no previous champion" in str(error), error
"""


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.team)])
def registry(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path
) -> Iterator[Registry]:
    if request.param == "server":
        with mlflow_server(tmp_path) as address:
            yield Registry(address)
    else:
        shutil.copy(empty_database, tmp_path / "mlflow.db")
        yield Registry(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))


@pytest.mark.faults
def test_the_history_of_many_at_once_tells_what_happened(
    registry: Registry, tmp_path: Path, tally: Any
) -> None:
    for strength in (1.0, 2.0, 3.0):
        add_version(registry, NAME, vector(strength))
    place = [registry.tracking_uri, registry.artifact_root or ""]
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, *place, str(number), str(TURNS), NAME],
            env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
            stdin=-1, stdout=-1, stderr=-1, text=True, cwd=tmp_path,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300)[1] for process in crowd]
    assert [process.returncode for process in crowd] == [0] * PROCESSES, said

    past = history(registry, NAME)
    tally.add("races", run=1, violations=0)
    assert len(past) >= TURNS and {record.state for record in past} == {"done"}
    assert {record.action for record in past} == {"promote", "rollback"}
    champion = previous = None
    for record in past:
        tally.add("races", violations=int(record.replaced != champion))
        assert record.replaced == champion
        if record.action == "rollback":
            assert record.version == previous
        champion, previous = record.version, champion
    assert find_aliases(registry, NAME) == {"champion": champion, "previous": previous}
    assert [v.name for v in list_versions(registry)] == [NAME] * 3
    assert {m.name for m in client(registry).search_registered_models()} == {NAME}


def test_a_dead_holders_lock_is_taken_over(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "DEAD_AFTER", 0.5)
    dying = Dying(client(registry), writes=1)
    with monkeypatch.context() as patch:
        patch.setattr(lock, "client", lambda _: dying)
        with pytest.raises(Died), exclusive(registry, NAME):
            pass
    dead = client(registry).get_registered_model(LOCK_PREFIX + NAME).tags["holder"]
    with exclusive(registry, NAME):
        assert client(registry).get_registered_model(LOCK_PREFIX + NAME).tags["holder"] != dead
    assert list(client(registry).search_registered_models()) == []
