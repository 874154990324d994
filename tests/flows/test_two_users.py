"""A home and a cache folder that two users share: as the umask lets them, and no further."""

import json
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.data_files import write_toy
from tests.helpers.processes import (
    PATIENCE,
    bound_by_rights,
    environment,
    give_to_somebody_else,
)
from tests.helpers.tiny_models import save_tiny

pytestmark = [
    pytest.mark.server,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="rights of a process are Linux's"),
]
# What somebody may do who may read the home and not write to it.
READING = (
    ("sql", "SELECT method, max(accuracy) FROM sweeps GROUP BY 1"),
    ("cache", "stats"),
    ("cache", "verify", "--json"),
    ("status",),
    ("steer", "pas-tiny-toy", "Where does the heron", "--max-new-tokens", "4"),
)


class Place:
    """A folder that every user can reach; pytest's own are for one alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.cache = folder, folder / "home", folder / "cache"

    def pas(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=environment(self.home) | {"PAS_CACHE_DIR": str(self.cache)}, umask=0o022,
            preexec_fn=bound_by_rights, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip

    def train(self) -> subprocess.CompletedProcess:
        return self.pas(
            *("train", "--task", "toy", "--data", str(self.folder / "toy.jsonl")),
            *("--model", str(self.folder / "tiny"), "--layers", "1", "--strengths", "1", "--json"),
        )


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="pas-two-users-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        write_toy(folder / "toy.jsonl")
        save_tiny("llama", folder / "tiny")
        yield Place(folder)


def rights(*folders: Path) -> dict[str, int]:
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.name != "memo_store.toml":  # Prefect's, which it can do without
                found[path.name] = stat.S_IMODE(path.stat().st_mode)
    return found


def test_somebody_elses_home_and_cache(place: Place) -> None:
    assert json.loads(place.train().stdout)["version"] == 1
    found = rights(place.home, place.cache)
    assert {"hashes.json", "vector.safetensors", "mlflow.db"} < found.keys()
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o444 != 0o444} == {}
    give_to_somebody_else(place.home)
    give_to_somebody_else(place.cache)
    listed = place.pas("vectors", "--json")
    assert listed.returncode == 0 and "pas-tiny-toy" in listed.stdout, listed.stderr
    for command in READING:
        done = place.pas(*command)
        assert done.returncode == 0 and done.stdout, (command, done.stderr)
        assert "Traceback" not in done.stderr
    promoted = place.pas("promote", "pas-tiny-toy")
    assert (promoted.returncode, promoted.stdout) == (2, "") and "Traceback" not in promoted.stderr
    refused = place.train()
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert str(place.home) in line


def test_somebody_elses_cache_alone_is_done_without(place: Place) -> None:
    place.cache.mkdir()
    (place.cache / "hashes.json").write_text("{}")
    (place.cache / "hashes.json").chmod(0)
    give_to_somebody_else(place.cache)
    done = place.train()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (place.home / "prefect" / "prefect.db").exists()
    assert [file.name for file in place.cache.iterdir()] == ["hashes.json"]
