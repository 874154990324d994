"""Maintenance as a flow: what it removes, copies and says."""

import json
import os
import posixpath
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.maintenance import maintenance
from pas.errors import UserError
from storage.lake.answers import answers_address, write_answers
from tasks import resources
from tests.helpers.artifacts import artifacts

BROKEN = "activations/model=x/site=residual/0.parquet"


@pytest.mark.server
def test_the_lake_is_tidied_and_the_home_copied(home: Path, tmp_path: Path) -> None:
    lake = resources.lake()
    lake.write_text(BROKEN, "text")
    kept = pa.table({"n": [1]})
    lake.write_table("stages/splits/0.parquet", kept)
    asked = maintenance(dry_run=True, return_state=True)
    assert asked.message == "1 files to remove, 0.0 MB" and lake.exists(BROKEN)
    done = maintenance(backup=str(tmp_path / "backups"))
    assert [entry.address for entry in done.removed] == [BROKEN] and not lake.exists(BROKEN)
    assert done.backup is not None and done.backup.parent == tmp_path / "backups"
    assert pq.read_table(done.backup / "lake" / "stages" / "splits" / "0.parquet").equals(kept)
    assert maintenance().backup is None
    with pytest.raises(UserError, match="inside the home"):
        maintenance(backup=str(home / "backups"))


@pytest.mark.server
def test_small_files_become_one_and_the_page_says_so(home: Path) -> None:
    lake, model = resources.lake(), "0" * 32
    for number in range(3):
        scores = {bytes([number]) * 16: [0.5, 0.25]}
        address = answers_address(lake, model, "letter-both", [*scores])
        write_answers(lake, address, scores)
        os.utime(lake.path(address), (0, 0))  # their writer does not look for them any more
    assert sum(len(one.addresses) for one in maintenance(dry_run=True).merged) == 3
    [merge] = maintenance().merged
    assert len(lake.list("answers")) == 1
    told = [a for a in artifacts(key="maintenance") if "merged" in a["data"]]
    dry, done = sorted(told, key=lambda artifact: artifact["created"])
    assert dry["description"].startswith("Summary: 0 files to be removed, 3 to be merged;")
    assert done["description"].startswith("Summary: 0 files removed, 3 merged;")
    [row] = json.loads(done["data"])
    assert row == {
        "file": f"3 files in {posixpath.dirname(merge.addresses[0])}",
        "reason": "merged into one file",
        "bytes": str(merge.bytes),
    }
