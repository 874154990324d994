"""MLflow's database: what is registered is never touched where it cannot be read."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pas.errors import UserError
from storage.registry.client import client
from storage.registry.database import database_file
from storage.registry.versions import list_versions
from storage.settings import Registry


@pytest.fixture
def file(tmp_path: Path, empty_database: Path) -> Path:
    return Path(shutil.copy(empty_database, tmp_path / "mlflow.db"))


def at(file: Path) -> Registry:
    return Registry(f"sqlite:///{file}", str(file.parent / "artifacts"))


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, None])
def test_a_damaged_database_is_refused_and_left(file: Path, content: bytes | None) -> None:
    file.write_bytes(file.read_bytes()[:100_000] if content is None else content)
    before, modified = file.read_bytes(), os.stat(file).st_mtime_ns
    for _ in range(2):
        with pytest.raises(UserError, match=r"mlflow\.db is damaged .*restore it from a backup"):
            list_versions(at(file))
    assert (file.read_bytes(), os.stat(file).st_mtime_ns) == (before, modified)
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_a_database_of_another_release_is_refused(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        database.commit()
    with pytest.raises(UserError, match=r"mlflow\.db: Detected out-of-date database schema"):
        client(at(file))


def test_a_database_that_was_mended_is_used(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:5000])
    with pytest.raises(UserError, match="is damaged"):
        client(at(file))
    file.write_bytes(whole)
    assert list_versions(at(file)) == []


def test_the_file_of_a_store(tmp_path: Path) -> None:
    home = tmp_path / "a home%20#1"
    assert database_file(at(home / "mlflow.db")) == home / "mlflow.db"
    assert database_file(Registry("sqlite:///a.db?timeout=3", ".")) == Path("a.db")
    for uri in ("postgresql://user@host/mlflow", "http://host:5000"):
        assert database_file(Registry(uri, ".")) is None
