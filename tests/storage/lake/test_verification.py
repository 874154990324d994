"""Damaged files of every kind are found before they are used, wherever the damage is."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pas.data.examples import Example
from pas.data.splits import Split
from pas.engine.extract import Activations
from storage.lake.answers import answers_address, write_answers
from storage.lake.files import DamagedError, Lake, open_lake
from storage.lake.shards import write_shard
from storage.lake.stages import split_table, stage
from storage.lake.tables import write_run_table
from storage.lake.verification import intact, intact_files, verify

FINGERPRINT = "0123456789abcdef" * 2
KEYS = tuple(bytes([n]) * 16 for n in range(8))
SWEEP = {"method": "caa", "layer": 3, "strength": 1.0, "n": 4, "correct": 3, "accuracy": 0.75}


def write_activations(lake: Lake, site: str = "residual") -> str:
    values = torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(0))
    return write_shard(lake, FINGERPRINT, site, Activations(KEYS, (5,) * 8, (3, 14), values), {})


def write_split(lake: Lake, seed: int = 0) -> str:
    where = stage(lake, "splits", data="d", seed=seed)
    items = tuple(Example(f"i{n}", f"question {n}", ("yes", "no"), n % 2, None) for n in range(9))
    parts = Split(items[:3], items[3:6], items[6:])
    return lake.write_table(where.address, split_table(parts), where.metadata)


def write_scores(lake: Lake) -> str:
    scores = {key: [float(key[0]), -1.5] for key in KEYS}
    return write_answers(lake, answers_address(lake, FINGERPRINT, "letter", KEYS), scores)


def write_sweep(lake: Lake) -> str:
    return write_run_table(lake, "sweeps", "r1", pa.Table.from_pylist([SWEEP]))


KINDS: dict[str, Callable[[Lake], str]] = {
    "activations": write_activations,
    "answers": write_scores,
    "split": write_split,
    "table": write_sweep,
}
every_kind = pytest.mark.parametrize("write", KINDS.values(), ids=KINDS)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(str(tmp_path))


def read_bytes(lake: Lake, address: str) -> bytes:
    return Path(lake.path(address)).read_bytes()


def overwrite(lake: Lake, address: str, content: bytes) -> None:
    """Change a file behind the lake's back."""
    file = Path(lake.path(address))
    file.write_bytes(content)
    # Clocks of file systems tick slowly; what happens within a tick looks like one write.
    os.utime(file, ns=(time.time_ns(), time.time_ns()))


@every_kind
def test_what_was_written_is_intact_and_the_same_bytes_each_time(
    write: Callable[[Lake], str], lake: Lake
) -> None:
    address = write(lake)
    content = read_bytes(lake, address)
    assert verify(lake, address) == (address, True, "", len(content)) and intact(lake, address)
    assert write(lake) == address and read_bytes(lake, address) == content


@pytest.mark.faults
@every_kind
@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_change_of_the_content_goes_unnoticed(
    write: Callable[[Lake], str], lake: Lake, tally: Any, data: st.DataObject
) -> None:
    """Flips, cuts and overwritten regions, one or several, anywhere in the file."""
    address = write(lake)
    whole = lake.read_table(address)
    content = bytearray(read_bytes(lake, address))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(("flip", "zeros", "noise", "cut")))
        if change == "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "cut" and place:
            del content[place:]
        else:
            region = content[place : place + data.draw(st.integers(1, 64))]
            noise = data.draw(st.binary(min_size=len(region), max_size=len(region)))
            content[place : place + len(region)] = bytes(len(region)) * (change == "zeros") or noise
    overwrite(lake, address, bytes(content))
    tally.add("corruptions", tried=1)
    if intact(lake, address):
        # Nothing was changed, or the checksum's entry alone: its name, for instance.
        assert lake.read_table(address).equals(whole)
        tally.put("corruptions", "without effect", 1)
    else:
        assert lake.list() == [] and lake.list("quarantine") == [f"quarantine/{address}"]
        tally.add("corruptions", detected=1)
        assert write(lake) == address and intact(lake, address)
        tally.add("corruptions", repaired=1)


@every_kind
def test_a_file_in_the_place_of_another_is_found(
    write: Callable[[Lake], str], lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    others = {
        write_activations: lambda: write_activations(lake, "mlp"),
        write_split: lambda: write_split(lake, seed=1),
        write_scores: lambda: write_answers(
            lake, answers_address(lake, FINGERPRINT, "letter", KEYS[:1]), {KEYS[0]: [1.0, 2.0]}
        ),
        write_sweep: lambda: write_run_table(lake, "sweeps", "r2", pa.Table.from_pylist([SWEEP])),
    }
    address, other = write(lake), others[write]()
    overwrite(lake, address, read_bytes(lake, other))
    assert intact_files(lake, lake.files()) == [other]
    assert "is not that of" in caplog.text


@every_kind
def test_a_file_without_a_checksum_is_checked_as_a_whole(
    write: Callable[[Lake], str], lake: Lake
) -> None:
    """As an older release wrote them."""
    address = write(lake)
    file = Path(lake.path(address))
    table = lake.read_table(address)
    metadata = {k: v for k, v in table.schema.metadata.items() if k != b"pas.checksum"}
    rows = table.num_rows // (2 if "activations" in address else 1)
    pq.write_table(
        table.replace_schema_metadata(metadata), file, row_group_size=rows, compression="zstd",
        write_page_checksum=True,
    )  # fmt: skip
    assert intact(lake, address)
    content = file.read_bytes()
    damaged = 0
    for place in range(4, len(content) // 2, 7):
        overwrite(lake, address, content[:place] + b"\x55\xaa" + content[place + 2 :])
        damaged += not intact(lake, address)
    assert damaged > 3
    overwrite(lake, address, content)
    assert intact(lake, address)


def test_a_file_is_read_once_until_it_changes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [write_activations(lake), write_split(lake)]
    read: list[str] = []
    opening = Lake.open_whole
    monkeypatch.setattr(Lake, "open_whole", lambda s, a: read.append(a) or opening(s, a))
    assert intact_files(lake, lake.files()) == intact_files(lake, lake.files()) == addresses
    assert read == addresses
    overwrite(lake, addresses[0], read_bytes(lake, addresses[0]))
    assert intact_files(lake, lake.files()) == addresses and read == [*addresses, addresses[0]]


def test_reading_a_damaged_table_is_refused(lake: Lake) -> None:
    address = write_sweep(lake)
    content = read_bytes(lake, address)
    for damaged in (content[:-1], content[:8] + b"?" + content[9:], b"", b"PAR1"):
        overwrite(lake, address, damaged)
        with pytest.raises(DamagedError, match=f"{address} is damaged.*pas cache gc"):
            lake.read_table(address)
    overwrite(lake, address, content[:8] + b"?" + content[9:])
    with pytest.raises(DamagedError, match=address):
        lake.require_undamaged(address)
    assert lake.exists(address)


def test_what_is_not_there_is_not_intact(lake: Lake) -> None:
    address = write_sweep(lake)
    files = lake.files()
    lake.remove(address)
    assert not intact(lake, address) and intact_files(lake, files) == []
    lake.require_undamaged(address)
    assert lake.list("quarantine") == []


def test_a_store_that_fails_is_not_a_damaged_file(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = write_sweep(lake)

    def fail(*_: object) -> BinaryIO:
        raise TimeoutError("the store does not answer")

    monkeypatch.setattr(Lake, "open_whole", fail)
    with pytest.raises(TimeoutError):
        intact(lake, address)
    assert lake.exists(address)
