"""Maintenance as a flow: what it removes, copies and says."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.maintenance import maintenance
from pas.errors import UserError
from tasks import resources

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
