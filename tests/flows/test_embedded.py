"""The embedded server: one for each command, or one that stays; several in a fresh home."""

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from storage.sqlite import damage
from tests.helpers.data_files import write_toy
from tests.helpers.processes import PATIENCE, environment
from tests.helpers.servers import wait_for

pytestmark = [pytest.mark.server, pytest.mark.faults]


def pas(home: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments], env=environment(home), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ran(process: subprocess.Popen) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out, err


def flow_states(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        return [row[0] for row in database.execute("SELECT state_name FROM flow_run")]


def test_four_commands_at_once_in_a_fresh_home(tmp_path: Path, tiny_folder: Path) -> None:
    data, home = write_toy(tmp_path / "toy.jsonl"), tmp_path / "home"
    command = ["train", "--task", "toy", "--data", str(data), "--model", str(tiny_folder),
               "--layers", "1", "--strengths", "1", "--json", "--seed"]  # fmt: skip
    started = [pas(home, *command, str(seed)) for seed in range(4)]
    outcomes = [json.loads(ran(process)[0]) for process in started]
    assert len({outcome["run_id"] for outcome in outcomes}) == 4
    assert flow_states(home) == ["Completed"] * 4
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        query = "SELECT value FROM tags WHERE key = 'mlflow.note.content'"
        notes = [note for (note,) in database.execute(query)]
    # The server is gone by the time that somebody reads them.
    assert len(notes) == 4 and not any("Flow run in Prefect" in note for note in notes)


def test_a_server_stays_until_it_is_told_to_end(tmp_path: Path) -> None:
    home, note = tmp_path / "home", tmp_path / "home" / "prefect" / "server.json"
    said = ran(pas(home, "up", "--port", "0"))[1]
    kept = json.loads(note.read_text())
    assert kept["address"] in said and kept["address"].startswith("http://127.0.0.1:")
    with urlopen(kept["address"]) as page:  # noqa: S310
        assert b"Prefect" in page.read()
    assert ran(pas(home, "up"))[1] == said, "it is the same one"
    process = psutil.Process(int(kept["process"].split("-")[1]))
    assert "ended the server" in ran(pas(home, "down"))[1]
    assert not process.is_running() and not note.exists()

    ran(pas(home, "up", "--port", "0"))
    killed = psutil.Process(int(json.loads(note.read_text())["process"].split("-")[1]))
    os.kill(killed.pid, signal.SIGKILL)
    wait_for("its end", lambda: not killed.is_running() or killed.status() == "zombie")
    assert "no server stays" in ran(pas(home, "down"))[1], "what it left behind is noticed"


START = (
    "import logging, sys\n"
    "from flows.runtime import make_home, prepare_environment\n"
    "from flows.embedded import start_for_command\n"
    "from storage.settings import settings\n"
    "logging.basicConfig(format='%(message)s')\n"
    "prepare_environment(settings().root)\n"
    "server = start_for_command()\n"
    "make_home(settings().root)\n"
    "server.wait_until_ready()\n"
    "server.stop()\n"
)


def start(home: Path, limit: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess:
    """Start a command's server and end it; no file may become larger than the limit."""
    return subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, timeout=PATIENCE,
        env=environment(home) | {"PAS_CACHE_DIR": str(home.parent / "cache")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


@pytest.mark.parametrize("size", [10_000, 1_100_000])
def test_a_full_disk_leaves_no_half_made_database(tmp_path: Path, size: int) -> None:
    home = tmp_path / "home"
    refused = start(home, size)
    assert refused.returncode != 0
    assert "UserError: Prefect's embedded server could not start" in refused.stderr
    made = [*(tmp_path / "cache").glob("*.db"), *(home / "prefect").glob("*.db")]
    assert made == [], "only whole databases have their names"
    again = start(home)
    assert again.returncode == 0, again.stderr


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose server has run, beside the folder `cache`."""
    home = tmp_path_factory.mktemp("embedded") / "home"
    assert start(home).returncode == 0
    return home


def migrated_in_part(file: Path) -> None:
    """As a disk leaves it that is full in the middle of a migration: a column, but no record."""
    from prefect.server import database as prefect_database

    steps = Path(prefect_database.__file__).parent / "_migrations" / "versions" / "sqlite"
    [step] = steps.glob("*_add_automation_tags_*.py")
    [before] = re.findall(r"^down_revision.*= .(\w+).$", step.read_text(), re.MULTILINE)
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (before,))
        database.commit()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda file: file.write_bytes(b"garbage" * 1000), "file is not a database"),
        (lambda file: file.write_bytes(file.read_bytes()[:200_000]), "malformed"),
        (lambda file: file.write_bytes(b""), "no tables"),
        (migrated_in_part, "duplicate column name"),
    ],
)
def test_a_damaged_database_is_set_aside(
    used: Path, tmp_path: Path, harm: Callable[[Path], object], reason: str
) -> None:
    home = tmp_path / "home"
    shutil.copytree(used.parent / "cache", tmp_path / "cache")
    shutil.copytree(used, home)
    file = home / "prefect" / "prefect.db"
    harm(file)
    damaged = file.read_bytes()
    mended = start(home)
    assert mended.returncode == 0, mended.stderr
    [line] = mended.stderr.splitlines()
    assert line.startswith("note: Prefect's database was damaged") and reason in line
    assert damage(file) is None
    aside = file.with_name("prefect.db.damaged-1")
    assert aside.read_bytes() == damaged or reason.startswith("duplicate")
    again = start(home)
    assert (again.returncode, again.stderr) == (0, ""), "it is told once"


def test_a_damaged_copy_in_the_cache_is_made_again(used: Path, tmp_path: Path) -> None:
    shutil.copytree(used.parent / "cache", tmp_path / "cache")
    [prepared] = (tmp_path / "cache").glob("prefect-*.db")
    prepared.write_bytes(prepared.read_bytes()[:100_000])
    done = start(tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert damage(prepared) is None


def test_a_locked_database_is_told(used: Path, tmp_path: Path) -> None:
    shutil.copytree(used.parent / "cache", tmp_path / "cache")
    shutil.copytree(used, tmp_path / "home")
    file = tmp_path / "home" / "prefect" / "prefect.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        refused = start(tmp_path / "home")
        other.rollback()
    assert refused.returncode != 0
    assert "prefect.db is locked by another process" in refused.stderr.splitlines()[-1]
    assert start(tmp_path / "home").returncode == 0
