"""The lake: safe addresses, whole files, nothing half-written ever visible."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pas.errors import UserError
from pas.files import TEMPORARY_PREFIX
from storage.lake.files import Lake, open_lake
from tests.helpers import object_store
from tests.helpers.fault_proxy import faulty_proxy

TABLE = pa.table({"n": [1, 2, 3]})


@pytest.fixture(params=["local", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "local":
        return open_lake(str(tmp_path / "it's a lake"))
    return open_lake(f"memory://{tmp_path.name}")


def test_write_read_list_remove(lake: Lake) -> None:
    address = lake.address("tables", "x", "run_id=a.parquet")
    assert not lake.exists(address) and lake.list() == []
    assert lake.write_table(address, TABLE, {"who": "me"}) == address
    read = lake.read_table(address)
    assert read.equals(TABLE) and read.schema.metadata[b"who"] == b"me"
    assert lake.exists(address) and not lake.exists("tables/x")
    assert lake.list() == lake.list("tables/x") == [address]
    assert lake.list("tables/y") == [] and lake.list(suffix=".json") == []
    assert lake.files() == {address: lake.version(address)}
    assert lake.files()[address].size == lake.size(address)
    lake.remove(address)
    lake.remove(address)
    assert lake.list() == []
    with pytest.raises(FileNotFoundError):
        lake.read_table(address)


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "a\\b", "ü", "a b", "x" * 201, "a\n"])
def test_user_text_never_becomes_a_path(lake: Lake, part: str) -> None:
    with pytest.raises(UserError, match="lake address"):
        lake.address("tables", part)
    with pytest.raises(UserError, match="lake address"):
        lake.write_table(f"tables/{part}/../x.parquet", TABLE)
    with pytest.raises(UserError, match="lake address"):
        lake.read_table(f"../{part}")


def test_nothing_is_written_under_a_temporary_name(lake: Lake) -> None:
    with pytest.raises(UserError, match="unfinished"):
        lake.write_table(f"tables/{TEMPORARY_PREFIX}x.parquet", TABLE)


@pytest.mark.parametrize("url", ["", "nowhere://x", "/data/lake*", "/dev/null/lake"])
def test_unusable_lakes_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="lake"):
        open_lake(url)


def test_a_failed_write_leaves_the_old_file_and_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(str(tmp_path))
    lake.write_table("a.parquet", TABLE)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        lake.write_table("a.parquet", TABLE.slice(1))
    assert lake.read_table("a.parquet").equals(TABLE)
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_killed_writers_leave_strays_that_are_hidden_and_removable(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    lake.write_table("activations/a.parquet", TABLE)
    stray = f"activations/{TEMPORARY_PREFIX}0123.parquet"
    (tmp_path / stray).write_bytes(b"half")
    assert lake.list() == lake.list(suffix="") == ["activations/a.parquet"]
    assert lake.stray_files() == [], "a young one may be a write in progress"
    assert lake.stray_files(min_age_seconds=0) == [stray]
    lake.remove(stray)
    assert lake.stray_files(min_age_seconds=0) == []


def _rewrite(url: str, times: int) -> None:
    for _ in range(times):
        Lake(url).write_table("a/same.parquet", pa.table({"n": list(range(20_000))}))


def test_concurrent_writers_of_one_address_never_show_a_partial_file(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    _rewrite(lake.url, 1)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_rewrite, args=(lake.url, 60)) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers) or reads == 0:
        assert lake.read_table("a/same.parquet").num_rows == 20_000
        assert lake.list() == lake.list(suffix="") == ["a/same.parquet"]
        reads += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert reads > 1 and lake.stray_files(min_age_seconds=0) == []


def test_threads_may_share_a_lake(lake: Lake) -> None:
    def write(n: int) -> None:
        lake.write_table(f"a/{n % 4}.parquet", TABLE)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lake.read_table(a).equals(TABLE) for a in lake.list()] == [True] * 4


@pytest.mark.server
@pytest.mark.faults
def test_a_store_that_is_away_for_a_while_is_waited_for() -> None:
    """Longer than botocore's own tries, which end after some ten seconds."""
    with object_store.bucket() as url, pytest.MonkeyPatch.context() as patch:
        port = int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
        with faulty_proxy(port) as proxy:
            patch.setenv("AWS_ENDPOINT_URL", proxy.address)
            lake = open_lake(f"{url}/lake")
            lake.write_text("a.json", "{}")
            proxy.leave()
            back = threading.Timer(15, proxy.come_back)
            back.start()
            lake.write_text("b.json", "{}")
            assert back.finished.is_set()
            assert lake.list(suffix=".json") == ["a.json", "b.json"]


def test_of_many_who_claim_a_file_one_succeeds(lake: Lake) -> None:
    _claim_from_many_threads(lake)


def test_a_claim_in_an_object_store_is_one_too() -> None:
    with object_store.bucket() as url:
        _claim_from_many_threads(open_lake(url))


def _claim_from_many_threads(lake: Lake) -> None:
    with ThreadPoolExecutor(8) as threads:
        for n in range(5):
            got = list(threads.map(lake.claim, [f"shares/x/{n}.claim"] * 8))
            assert sorted(got) == [False] * 7 + [True]
    assert lake.list(suffix=".claim") == [f"shares/x/{n}.claim" for n in range(5)]
