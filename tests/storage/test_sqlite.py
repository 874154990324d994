"""A SQLite file that is damaged, locked or somebody else's is known before a library opens it."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pas.errors import UserError
from storage.sqlite import damage, revision, set_aside


@pytest.fixture
def file(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "a home 100%20#1"
    folder.mkdir()
    return Path(shutil.copy(empty_database, folder / "mlflow.db"))


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def garble(file: Path, start: int) -> None:
    content = bytearray(file.read_bytes())
    content[start : start + 8192] = b"\x5a" * 8192
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda file: file.write_bytes(b"garbage" * 1000),
    "text": lambda file: file.write_text("moved to another disk"),
    "empty": lambda file: file.write_bytes(b""),
    "cut in its header": lambda file: cut(file, 50),
    "cut after a page": lambda file: cut(file, 4096),
    "cut in half": lambda file: cut(file, file.stat().st_size // 2),
    "its end cut": lambda file: cut(file, file.stat().st_size - 4096),
    "its first page": lambda file: garble(file, 100),
    "a later page": lambda file: garble(file, 5 * 4096),
}


def test_a_whole_database_is_whole(file: Path) -> None:
    assert damage(file) is None and damage(file, writing=True) is None
    assert revision(file)


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_known_and_nothing_is_changed(file: Path, harm: Callable[[Path], object]) -> None:
    harm(file)
    before = file.read_bytes()
    for writing in (False, True):
        reason = damage(file, writing=writing)
        assert reason and "\n" not in reason
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


@pytest.mark.faults
@pytest.mark.parametrize(("lock", "writing"), [("EXCLUSIVE", False), ("IMMEDIATE", True)])
def test_a_lock_is_told(file: Path, lock: str, writing: bool) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute(f"BEGIN {lock}")
        began = time.monotonic()
        with pytest.raises(UserError, match=r"mlflow\.db is locked by another process"):
            damage(file, writing=writing)
        assert time.monotonic() - began < 10
        other.rollback()
    assert damage(file, writing=writing) is None


def test_readers_do_not_wait_for_a_writer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert damage(file) is None


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        damage(tmp_path)


def test_databases_that_are_set_aside_are_kept(file: Path) -> None:
    for number in (1, 2):
        file.write_text(str(number))
        file.with_name("mlflow.db-wal").write_text("log")
        aside = set_aside(file)
        assert aside.name == f"mlflow.db.damaged-{number}" and aside.read_text() == str(number)
        assert not file.exists() and not file.with_name("mlflow.db-wal").exists()
    assert len(list(file.parent.iterdir())) == 4
