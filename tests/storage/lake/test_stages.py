"""Splits in the lake."""

from pathlib import Path

import pyarrow as pa
import pytest

from pas.data.splits import split
from pas.errors import UserError
from storage.lake.files import Lake
from storage.lake.stages import data_digest, read_ingredients, read_split, split_table, stage
from tests.helpers.examples import item


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def test_a_split_is_stored_with_its_roles(lake: Lake) -> None:
    pool = [item(at, roles=("a", "b", "c") if at % 2 else ()) for at in range(9)]
    parts = split(pool, 0, "sound", None)
    address = lake.write_table(lake.address("split.parquet"), split_table(parts))
    assert read_split(lake, address) == parts


def test_an_address_keeps_what_it_was_made_from(lake: Lake) -> None:
    one = stage(lake, "sweeps", split="a", strengths=(0.5, 1.0), seed=None)
    assert one == stage(lake, "sweeps", strengths=[0.5, 1.0], seed=None, split="a")
    others = [
        stage(lake, "sweeps", split="b", strengths=(0.5, 1.0), seed=None),
        stage(lake, "sweeps", split="a", strengths=(0.5, 1.5), seed=None),
        stage(lake, "sweeps", split="a", strengths=(0.5, 1.0)),
        stage(lake, "damage", split="a", strengths=(0.5, 1.0), seed=None),
    ]
    assert len({where.address for where in (one, *others)}) == 5
    lake.write_table(one.address, pa.table({"x": [1]}), one.metadata)
    expected = {"split": "a", "strengths": [0.5, 1.0], "seed": None}
    assert read_ingredients(lake, one.address) == expected
    lake.write_table("plain.parquet", pa.table({"x": [1]}))
    assert read_ingredients(lake, "plain.parquet") == {}
    with pytest.raises(UserError, match="there is no stages/sweeps"):
        read_ingredients(lake, others[0].address)


def test_the_data_digest_is_of_the_data_and_not_of_the_split(lake: Lake) -> None:
    made = [stage(lake, "splits", data="d1gest", seed=seed) for seed in (0, 1)]
    made.append(stage(lake, "shots", split=made[0].address, shots=2))
    for where in made:
        lake.write_table(where.address, pa.table({"x": [1]}), where.metadata)
    assert {data_digest(lake, where.address) for where in made} == {"d1gest"}
    assert len({where.address for where in made}) == 3
