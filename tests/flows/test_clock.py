"""A clock that jumps by a day and back, again and again, changes no result and loses nothing."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import time_machine

from flows.train import Training, train
from storage.catalogue.views import query
from storage.lake.verification import verify
from storage.registry.client import client
from storage.registry.versions import list_versions
from storage.settings import settings
from tasks import resources
from tasks.upkeep import collect_garbage
from tests.helpers.recipes import toy

pytestmark = [pytest.mark.server, pytest.mark.faults]
JUMPS = [timedelta(days=1), timedelta(days=-2), timedelta(hours=30), timedelta(hours=-6)]


def directions(trained: Training) -> np.ndarray:
    sql = f"SELECT direction FROM vectors WHERE run_id = '{trained.outcome.run_id}' ORDER BY ALL"
    return np.array(query(resources.lake(), sql)["direction"].to_pylist())


def test_a_training_while_the_clock_jumps(
    home: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tally: Any
) -> None:
    recipe = toy(tmp_path, tiny_folder, n=40)
    whole = train(recipe)
    kept = directions(whole)
    monkeypatch.setenv("PAS_HOME", str(tmp_path / "jumping"))
    settings.cache_clear()
    over, jumps = threading.Event(), 0

    def jump(traveller: Any) -> None:
        nonlocal jumps
        while not over.wait(0.05):
            traveller.shift(JUMPS[jumps % len(JUMPS)])
            jumps += 1

    with time_machine.travel(datetime.now(UTC), tick=True) as traveller:
        thread = threading.Thread(target=jump, args=(traveller,))
        thread.start()
        try:
            found = train(recipe)
            garbage = collect_garbage(None, dry_run=False)
        finally:
            over.set()
            thread.join()
    assert jumps > 20
    tally.add("faults", injected=jumps)
    assert garbage == []
    tally.add("faults", silently_wrong=int(not np.array_equal(directions(found), kept)))
    np.testing.assert_array_equal(directions(found), kept)
    for name in ("method", "layer", "strength", "steered_accuracy", "verdict"):
        assert getattr(found.outcome, name) == getattr(whole.outcome, name)
    lake = resources.lake()
    assert all(verify(lake, address).ok for address in lake.list())
    [version] = list_versions(resources.registry())
    assert client(resources.registry()).get_run(version.run_id).info.status == "FINISHED"
    tally.add("faults", survived=jumps)
