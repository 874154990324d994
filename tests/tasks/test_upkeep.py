"""Garbage: what an interrupted process left, and what was asked for; nothing else."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from pas.errors import UserError
from storage.lake.files import Lake
from storage.registry.client import client
from storage.registry.runs import open_run
from storage.settings import settings
from tasks import resources
from tasks.upkeep import back_up, collect_garbage

DAY = 86400.0


@pytest.fixture
def lake(home: Path) -> Lake:
    return resources.lake()


def aged(lake: Lake, address: str, days: float) -> str:
    if address.startswith("stages"):
        lake.write_table(address, pa.table({"n": [1]}))
    else:
        lake.write_text(address, "text")
    when = time.time() - days * DAY
    os.utime(lake.path(address), (when, when))
    return address


def test_only_what_is_abandoned_is_removed(lake: Lake) -> None:
    claim = aged(lake, "shares/0123/4.claim", 2)
    part = aged(lake, "stages/sweep-shares/0123.parquet", 2)
    kept = [
        aged(lake, "shares/4567/4.claim", 0.5),
        aged(lake, "stages/sweep-shares/4567.parquet", 0.5),
        aged(lake, "stages/sweeps/0123.parquet", 400),
    ]
    stray = Path(lake.path("stages/sweeps/0123.parquet")).with_name(".tmp-0123")
    stray.write_text("half")
    os.utime(stray, (0, 0))
    garbage = {claim, part, "stages/sweeps/.tmp-0123"}
    assert {entry.address for entry in collect_garbage(None, dry_run=True)} == garbage
    assert all(lake.exists(address) for address in garbage)
    assert {entry.address for entry in collect_garbage(None, dry_run=False)} == garbage
    assert not any(lake.exists(address) for address in garbage)
    assert all(lake.exists(address) for address in kept)


def test_a_shard_is_removed_if_it_is_broken_or_as_old_as_asked_for(lake: Lake) -> None:
    broken = aged(lake, "activations/model=x/site=residual/0.parquet", 0)
    [entry] = collect_garbage(100, dry_run=False)
    assert (entry.address, entry.bytes) == (broken, 4) and "not written" not in entry.reason
    assert collect_garbage(None, dry_run=False) == []


def test_a_backup_is_a_home_without_activations(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = resources.registry()
    with open_run(registry, experiment="pas", run_name="kept"):
        resources.lake().write_text("stages/splits/a.parquet", "kept")
        resources.lake().write_text("activations/model=x/a.parquet", "left out")
        (home / "prefect").mkdir()
        # Not checkpointed yet: a plain copy of the file would lack it.
        copy = back_up(tmp_path / "backups")
    files = {f.relative_to(copy).as_posix() for f in copy.rglob("*") if f.is_file()}
    assert {"mlflow.db", "lake/stages/splits/a.parquet"} <= files
    assert not any("activations" in f or f.startswith("prefect") for f in files)
    monkeypatch.setenv("PAS_HOME", str(copy))
    settings.cache_clear()
    store = client(resources.registry())
    [run] = store.search_runs([store.get_experiment_by_name("pas").experiment_id])
    assert run.info.run_name == "kept"
    with pytest.raises(UserError, match="inside the home"):
        back_up(copy / "backups")
