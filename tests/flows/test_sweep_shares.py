"""A sweep in units, as processes share it: each can be used, and together they are the sweep."""

from pathlib import Path

import pyarrow as pa
import pytest

import tasks.sweep
from flows.train import train
from storage.registry.runs import read_lineage
from tasks import resources, shares
from tasks.shares import Work, fill
from tasks.sweep import sweep_units, unit_runner
from tests.helpers.recipes import toy

pytestmark = pytest.mark.server


def test_the_units_of_a_sweep_are_the_sweep(
    home: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy(tmp_path, tiny_folder)
    trained = train(recipe)
    lake = resources.lake()
    stages = read_lineage(resources.registry(), trained.outcome.run_id)["stages"]
    monkeypatch.setattr(tasks.sweep, "SHARE_ITEMS", 5)
    units = sweep_units(recipe, stages["split"], stages["vectors"])
    assert len(units) > 2
    work = Work("sweep", recipe, stages["split"], stages["vectors"], units)
    assert fill("shares/x/work.json", units, unit_runner(work), finish=True) == len(units)
    assert all(unit.is_filled for unit in units)
    together = pa.concat_tables([lake.read_table(a) for unit in units for a in unit.addresses])
    order = [("condition", "ascending"), ("method", "ascending"), ("layer", "ascending"),
             ("strength", "ascending"), ("item_id", "ascending")]  # fmt: skip
    one, other = (t.sort_by(order) for t in (together, lake.read_table(stages["sweep"])))
    names = ["item_id", "method", "layer", "strength", "choice", "label"]
    assert one.select(names).equals(other.select(names))


def test_a_unit_that_cannot_be_used_once_it_is_filled_ends_the_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be filled again and again."""
    monkeypatch.setattr(shares, "WAIT", 0.0)
    unit = shares.Unit(("stages/units/0.parquet",), (), ())
    with pytest.raises(RuntimeError, match="cannot be used"):
        fill(
            "shares/x/work.json",
            [unit],
            lambda unit: resources.lake().write_text(unit.addresses[0], "no table"),
            finish=True,
        )
