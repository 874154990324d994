"""Everything that is stored has a schema number; what a newer release wrote is refused and kept."""

import io
from pathlib import Path

import pyarrow as pa
import pytest

from pas.errors import UserError
from storage.catalogue.views import query_rows
from storage.lake import checksum, schema
from storage.lake.files import open_lake
from storage.lake.tables import write_run_table
from storage.lake.verification import intact, verify

ROW = {"method": "caa", "layer": 1, "strength": 1.0, "n": 4, "correct": 3, "accuracy": 0.75}


def of_a_newer_release(file: Path) -> bytes:
    """The same file with the next schema number and a right checksum."""
    entry = b"\x18\x0apas.schema\x18\x01"
    content = file.read_bytes()
    assert content.count(entry + b"1") == 1
    content = content.replace(entry + b"1", entry + b"2")
    place = content.rfind(b"pas.checksum") + len("pas.checksum") + 2
    sink = io.BytesIO(content[:place] + checksum.BLANK.encode() + content[place + 32 :])
    checksum.fill_in(sink)
    file.write_bytes(sink.getvalue())
    return sink.getvalue()


def test_a_file_of_a_newer_release_is_refused_and_stays(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    table = pa.Table.from_pylist([ROW])
    address = write_run_table(lake, "sweeps", "r1", table)
    file = Path(lake.path(address))
    schema.require_known(io.BytesIO(file.read_bytes()), "a file")
    assert intact(lake, address) and lake.read_table(address).num_rows == 1
    content = of_a_newer_release(file)
    for read in (
        lambda: intact(lake, address),
        lambda: verify(lake, address),
        lambda: lake.read_table(address),
        lambda: query_rows(lake, "SELECT * FROM sweeps"),
    ):
        with pytest.raises(UserError, match="has schema 2, and this release reads 1.*Update"):
            read()
    assert file.read_bytes() == content and lake.list() == [address]


@pytest.mark.parametrize("found", [2, "1", 1.5, True, [1]])
def test_a_number_that_is_not_known_is_refused(found: object) -> None:
    with pytest.raises(UserError, match="a record has schema"):
        schema.require_schema(found, 1, "a record")
    for known in (None, 1, 0):
        schema.require_schema(known, 1, "a record")
