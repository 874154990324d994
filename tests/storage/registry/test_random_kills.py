"""A process that promotes and rolls back is killed at any moment, again and again.

After each death the next decision carries out what was begun; history and aliases tell the same.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from storage.registry import lock
from storage.registry.promotion import settle
from storage.registry.records import Record, history
from storage.registry.versions import CHAMPION, PREVIOUS, find_aliases
from storage.settings import Registry, settings
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE
from tests.helpers.registries import add_version, vector

pytestmark = pytest.mark.faults
SEED = int(os.environ.get("KILLS_SEED", "0"))
KILLS = int(os.environ.get("KILLS", "12"))
NAME, VERSIONS = "pas-model-toy", 3
# Decides at random and without end.
DECIDE = f"""
import random, sys
from storage.registry import lock
from storage.registry.promotion import promote, rollback
from storage.settings import settings
from pas.errors import UserError
lock.DEAD_AFTER = 0.5
registry, chance = settings().open_registry(), random.Random(int(sys.argv[1]))
promote(registry, "{NAME}", 1)
print("ready", flush=True)
while True:
    try:
        if chance.random() < 0.4:
            rollback(registry, "{NAME}")
        else:
            promote(registry, "{NAME}", chance.randint(1, {VERSIONS}))
    except UserError as error:
        assert "no previous champion" in str(error), error
"""


@pytest.fixture
def registry(home: Path) -> Registry:
    opened = settings().open_registry()
    for strength in range(1, VERSIONS + 1):
        add_version(opened, NAME, vector(float(strength)))
    return opened


def expected(past: list[Record]) -> tuple[int | None, int | None]:
    """What champion and previous must be, from the history alone: each decision in its order."""
    champion = previous = None
    for record in past:
        assert record.state == "done", record
        assert record.replaced == champion, "each tells which champion it replaced"
        if record.action == "rollback":
            assert record.version == previous, "back to the one before"
        champion, previous = record.version, champion
    return champion, previous


def test_promotions_survive_kills_at_random_moments(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tally: Any
) -> None:
    monkeypatch.setattr(lock, "DEAD_AFTER", 0.5)
    moments, cut_off = random.Random(SEED), 0
    for number in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", DECIDE, str(SEED * 1000 + number)], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
        time.sleep(2 * moments.random())
        assert process.poll() is None, process.stderr and process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        tally.add("faults", injected=1)
        cut_off += settle(registry, NAME) is not None
        past, aliases = history(registry, NAME), find_aliases(registry, NAME)
        assert (aliases.get(CHAMPION), aliases.get(PREVIOUS)) == expected(past)
        tally.add("faults", survived=1)
    assert cut_off, "none of the moments was in the middle of a decision; take another seed"
