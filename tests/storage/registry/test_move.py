"""A home that was moved or copied: its vectors are found again, and nothing else is touched."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pas.errors import UserError
from storage.registry.client import MOVED, client, ensure_experiment
from storage.registry.move import move, moved_from
from storage.registry.versions import load_vector, resolve
from storage.settings import Registry
from tests.helpers.registries import log, vector

NAME = "pas-tiny-toy"


def at(home: Path) -> Registry:
    return Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))


@pytest.fixture
def moved(tmp_path: Path, empty_database: Path) -> tuple[Path, Path]:
    """The old and the new place of a home with a vector; the names need quoting in a URI."""
    old, new = tmp_path / "old home%", tmp_path / "new" / "häuschen 100%"
    old.mkdir()
    shutil.copy(empty_database, old / "mlflow.db")
    log(at(old), NAME)
    new.parent.mkdir()
    old.rename(new)
    return old, new


def test_a_moved_home_is_told_and_mended(moved: tuple[Path, Path]) -> None:
    old, new = moved
    registry = at(new)
    assert moved_from(registry) == [old / "artifacts"]
    with pytest.raises(UserError, match=MOVED):
        load_vector(registry, resolve(registry, NAME))
    with pytest.raises(UserError, match=MOVED):
        ensure_experiment(registry, "tests/registry")
    [done] = move(registry)
    assert done[:2] == (old / "artifacts", new / "artifacts")
    # The experiment, the run, the logged model, and the version's source and storage.
    assert done.entries == 5
    loaded = load_vector(registry, resolve(registry, NAME))
    assert np.array_equal(loaded.direction, vector().direction)
    again = log(registry, NAME, vector=vector(3.0))
    assert load_vector(registry, resolve(registry, f"{NAME}:{again.version}")).strength == 3.0
    run = client(registry).get_run(again.run_id)
    assert run.info.artifact_uri.startswith((new / "artifacts").as_uri())
    assert moved_from(registry) == move(registry) == [] and not old.exists()


def test_a_copy_stops_using_the_original(moved: tuple[Path, Path], tmp_path: Path) -> None:
    _, original = moved
    move(at(original))
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    assert moved_from(at(copy)) == [original / "artifacts"]
    with pytest.raises(UserError, match="If the home was moved or copied"):
        log(at(copy), NAME, vector=vector(3.0))
    move(at(copy))
    shutil.rmtree(original)
    assert load_vector(at(copy), resolve(at(copy), NAME)).strength == 2.0


def test_what_is_not_there_is_not_moved_to(moved: tuple[Path, Path]) -> None:
    _, new = moved
    (new / "artifacts").rename(new / "elsewhere")
    with pytest.raises(UserError, match="move the whole home"):
        move(at(new))
    (new / "elsewhere").rename(new / "artifacts")
    assert len(move(at(new))) == 1


def test_other_experiments_and_stores_stay(moved: tuple[Path, Path], tmp_path: Path) -> None:
    _, new = moved
    registry = at(new)
    kept = (tmp_path / "kept").as_uri()
    experiment = client(registry).create_experiment("own", kept)
    move(registry)
    assert client(registry).get_experiment(experiment).artifact_location == kept
    assert ensure_experiment(registry, "own") == experiment
    server = Registry("http://127.0.0.1:1")
    assert moved_from(server) == []
    with pytest.raises(UserError, match="only the embedded store"):
        move(server)
