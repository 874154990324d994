"""Whatever a user asks `pas sql`, nothing outside the lake is read, and nothing is written."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pas.errors import UserError
from storage.catalogue.views import query_rows
from storage.lake.files import Lake, open_lake
from storage.lake.tables import write_run_table
from tests.helpers.fuzz import bounded

pytestmark = pytest.mark.faults
SECRET = "c0ffee-f00d"
ROW = {"method": "caa", "layer": 1, "strength": 1.0, "n": 4, "correct": 3, "accuracy": 0.75}
PLACES = ("LAKE", "LAKE/../secret.csv", "SECRET", "SECRET.parquet", "/etc/passwd", "LAKE/../*",
          "file:SECRET", "http://127.0.0.1:1/x", "s3://b/x", "LAKE/tables/sweeps/run_id=r1.parquet",
          "OUT", "", "~", ":memory:")  # fmt: skip
CALLS = ("read_text", "read_blob", "read_csv", "read_csv_auto", "read_json", "read_json_auto",
         "read_ndjson", "read_parquet", "parquet_scan", "parquet_metadata", "parquet_schema",
         "parquet_kv_metadata", "parquet_file_metadata", "sniff_csv", "glob", "getenv", "query",
         "query_table", "sqlite_scan", "iceberg_scan", "delta_scan", "which_secret",
         "pragma_table_info", "checkpoint", "force_checkpoint", "write_log",
         "duckdb_settings", "duckdb_secrets", "current_setting")  # fmt: skip
STATEMENTS = (
    "SELECT * FROM {call}('{place}')",
    "SELECT {call}('{place}')",
    "SELECT * FROM '{place}'",
    "FROM '{place}'",
    "SELECT * FROM {view} WHERE EXISTS (FROM {call}('{place}'))",
    "WITH x AS (FROM {call}('{place}')) SELECT * FROM x, {view}",
    "SELECT (SELECT content FROM read_text('{place}'))",
    "EXPLAIN ANALYZE SELECT * FROM {call}('{place}')",
    "EXPLAIN COPY {view} TO '{place}'",
    "DESCRIBE SELECT * FROM {call}('{place}')",
    "SUMMARIZE '{place}'",
    "PIVOT '{place}' ON 1",
    "COPY {view} TO '{place}'",
    "COPY (FROM {call}('{place}')) TO 'OUT'",
    "EXPORT DATABASE '{place}'",
    "IMPORT DATABASE '{place}'",
    "ATTACH '{place}' AS other",
    "ATTACH '{place}'; SELECT 1",
    "CREATE TABLE t AS FROM {call}('{place}')",
    "CREATE MACRO f() AS TABLE FROM '{place}'",
    "INSTALL '{place}'",
    "LOAD '{place}'",
    "SET allowed_directories = ['{place}']",
    "SET enable_external_access = true; FROM '{place}'",
    "PRAGMA database_list",
    "CALL {call}('{place}')",
    "PREPARE p AS FROM '{place}'",
    "SELECT * FROM {view}; DROP VIEW {view}",
    "SELECT 1 /* {place} */ FROM {view} -- {call}",
    "VALUES ('{place}')",
    "SHOW TABLES FROM '{place}'",
    "SELECT * FROM query('FROM ''{place}''')",
    "SELECT * FROM query('COPY {view} TO ''{place}''')",
)
VIEWS = ("sweeps", "items", "activations", "nothing", "information_schema.tables")
# What a statement is spoilt with: bytes between its words.
PIECES = st.text(alphabet="'\";()-/*,.\0\n\\ $%{}[]=:aA1é", max_size=4)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("sql")
    (folder / "secret.csv").write_text(f"name\n{SECRET}\n")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"name": [SECRET]}), folder / "secret.csv.parquet")
    lake = open_lake(str(folder / "lake"))
    write_run_table(lake, "sweeps", "r1", pa.Table.from_pylist([ROW]))
    return lake


def held(folder: Path) -> dict[str, str]:
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


@bounded(300)
@given(
    form=st.sampled_from(STATEMENTS), call=st.sampled_from(CALLS), place=st.sampled_from(PLACES),
    view=st.sampled_from(VIEWS), before=PIECES, after=PIECES, cut=st.integers(0, 40),
)  # fmt: skip
@example("SELECT * FROM {call}('{place}')", "read_text", "SECRET", "sweeps", "", "", 0)
def test_no_statement_leaves_the_lake(
    lake: Lake, tally: Any, form: str, call: str, place: str, view: str, before: str, after: str,
    cut: int,
) -> None:  # fmt: skip
    folder = Path(lake.root).parent
    sql = form.replace("{call}", call).replace("{view}", view).replace("{place}", place)
    sql = sql.replace("LAKE", lake.root).replace("SECRET", str(folder / "secret.csv"))
    sql = sql.replace("OUT", str(folder / "out"))
    sql = before + (sql[: len(sql) - cut] if cut > 30 else sql) + after
    files = held(folder)
    tally.add("fuzzed inputs", tried=1)
    try:
        names, rows = query_rows(lake, sql)
        assert SECRET not in repr((names, rows)) and "root:" not in repr(rows)
    except UserError as error:
        assert SECRET not in str(error)
    assert held(folder) == files
    tally.add("fuzzed inputs", handled=1)
