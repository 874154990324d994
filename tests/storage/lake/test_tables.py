"""Run tables: their columns are checked, cast and described."""

from pathlib import Path

import pyarrow as pa
import pytest

from storage.lake.files import Lake, open_lake
from storage.lake.tables import TABLES, describe_tables, write_run_table
from tests.helpers.places import ROOT


@pytest.fixture(params=["local", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "local":
        return open_lake(str(tmp_path / "it's a lake"))
    return open_lake(f"memory://{tmp_path.name}")


SWEEP = {
    "method": ["PASf"],
    "layer": [14],
    "strength": [1],
    "n": [10],
    "correct": [7],
    "accuracy": [0.7],
}


def test_run_tables_are_cast_and_carry_their_run(lake: Lake) -> None:
    address = write_run_table(lake, "sweeps", "r1", pa.table(SWEEP))
    assert address == "tables/sweeps/run_id=r1.parquet"
    read = lake.read_table(address)
    assert read.schema.equals(TABLES["sweeps"].schema)
    assert read.to_pylist() == [{"run_id": "r1"} | {k: v[0] for k, v in SWEEP.items()}]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"extra": [1]}, "extra columns"),
        ({"n": None}, "missing columns"),
        ({"n": [None]}, "NULL"),
        ({"n": [1.5]}, "column n"),
        ({"layer": ["x"]}, "column layer"),
        ({"run_id": ["other"]}, "another run"),
    ],
)
def test_run_tables_are_strict(lake: Lake, change: dict[str, list], match: str) -> None:
    columns = {k: v for k, v in (SWEEP | change).items() if v is not None}
    with pytest.raises(ValueError, match=match):
        write_run_table(lake, "sweeps", "r1", pa.table(columns))
    assert lake.list() == []


def test_every_column_is_described() -> None:
    text = describe_tables()
    for table in TABLES.values():
        assert table.columns[0].name == "run_id" and all(c.text for c in table.columns)
        assert f"### `{table.name}`" in text


def test_the_documentation_is_what_the_command_prints() -> None:
    docs = ROOT / "docs" / "catalogue.md"
    assert describe_tables().strip() in docs.read_text()
