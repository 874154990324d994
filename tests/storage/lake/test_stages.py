"""Splits in the lake."""

from pathlib import Path

from pas.data.splits import split
from storage.lake.files import Lake
from storage.lake.stages import read_split, write_split
from tests.helpers.examples import item


def test_a_split_is_stored_with_its_roles(tmp_path: Path) -> None:
    pool = [item(at, roles=("a", "b", "c") if at % 2 else ()) for at in range(9)]
    parts = split(pool, 0, "sound", None)
    lake = Lake(str(tmp_path))
    assert read_split(lake, write_split(lake, lake.address("split.parquet"), parts)) == parts
