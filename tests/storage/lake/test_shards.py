"""Activation shards: exact values, refused values, stable names, and detected damage."""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pas.engine.extract import Activations
from pas.errors import UserError
from storage.lake.files import Lake, open_lake
from storage.lake.shards import read_footer, shard_key, write_shard
from storage.lake.verification import verify

FINGERPRINT = "0123456789abcdef" * 2
LAYERS = (14, 3)


def key(n: int) -> bytes:
    return blake2b(str(n).encode(), digest_size=16).digest()


def activations(dtype: torch.dtype, n: int = 6, width: int = 5, seed: int = 0) -> Activations:
    values = torch.randn(n, len(LAYERS), width, generator=torch.Generator().manual_seed(seed))
    keys = tuple(key(i) for i in range(n))
    return Activations(keys, tuple(range(10, 10 + n)), LAYERS, (values * 30).to(dtype))


def write(lake: Lake, given: Activations) -> str:
    return write_shard(lake, FINGERPRINT, "residual", given, {"id": "demo"})


def read(lake: Lake, address: str) -> dict[tuple[bytes, int], np.ndarray]:
    rows = lake.read_table(address).to_pylist()
    return {(r["prompt_key"], r["layer"]): np.float32(r["vector"]) for r in rows}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(str(tmp_path))


@pytest.mark.parametrize(
    ("dtype", "largest", "stored"),
    [
        (torch.float32, 1e30, pa.float32()),
        (torch.float16, 65504.0, pa.float16()),
        (torch.bfloat16, 65280.0, pa.float16()),
        (torch.bfloat16, -65536.0, pa.float32()),
    ],
)
def test_round_trip_is_exact(
    lake: Lake, dtype: torch.dtype, largest: float, stored: pa.DataType
) -> None:
    given = activations(dtype)
    given.values[2, 1, 3] = largest
    address = write(lake, given)
    assert lake.read_table(address).schema.field("vector").type.equals(pa.list_(stored))
    found = read(lake, address)
    assert len(found) == 6 * 2
    for i, prompt in enumerate(given.keys):
        for j, layer in enumerate(LAYERS):
            assert found[prompt, layer].tolist() == given.values[i, j].tolist()
    assert verify(lake, address) == (address, True, "", lake.size(address))


def test_bfloat16_in_float16_is_exact_down_to_its_documented_limit(lake: Lake) -> None:
    patterns = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    size = patterns.float().abs()
    fitting = patterns[(size >= 2**-17) & (size <= 65504)]
    tiny = torch.tensor([2.0**-17 * 0.99609375, 2.0**-26], dtype=torch.bfloat16)
    values = torch.cat([fitting, tiny])
    address = write(lake, Activations((key(0),), (3,), (3,), values[None, None]))
    found = read(lake, address)[key(0), 3]
    assert len(fitting) > 8000 and (found[:-2] == fitting.float().numpy()).all()
    assert 0 < np.abs(found - values.float().numpy()).max() <= 2**-25


def test_layout_is_one_sorted_row_group_per_layer(lake: Lake) -> None:
    address = write(lake, activations(torch.float16))
    table = lake.read_table(address)
    rows = list(zip(table["layer"].to_pylist(), table["prompt_key"].to_pylist(), strict=True))
    assert rows == sorted(rows) and table["prompt_key"].type == pa.binary(16)
    with lake.open(address) as handle, pq.ParquetFile(handle) as parquet:
        groups = [parquet.read_row_group(g) for g in range(parquet.num_row_groups)]
    assert [set(g["layer"].to_pylist()) for g in groups] == [{3}, {14}]
    footer = read_footer(lake, address)
    assert footer["model"] == {"id": "demo"} and footer["libraries"]["torch"]
    assert (footer["fingerprint"], footer["site"]) == (FINGERPRINT, "residual")
    tokens = dict(zip(sorted(map(key, range(6))), footer["n_tokens"], strict=True))
    assert tokens == {key(i): 10 + i for i in range(6)}


def test_the_name_is_the_content_whatever_the_order(lake: Lake) -> None:
    given = activations(torch.float32)
    order = [4, 0, 5, 2, 1, 3, 4]
    shuffled = Activations(
        tuple(given.keys[i] for i in order),
        tuple(given.n_tokens[i] for i in order),
        (3, 14),
        given.values[order][:, [1, 0]],
    )
    first = write(lake, given)
    before = lake.open(first).read()
    assert write(lake, shuffled) == first and lake.open(first).read() == before
    assert shard_key(given.keys, (3,)) != shard_key(given.keys, (3, 14)) != shard_key([], (3, 14))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_refused(lake: Lake, dtype: torch.dtype, bad: float) -> None:
    given = activations(dtype)
    given.values[4, 1, 2] = bad
    with pytest.raises(UserError, match=f"{given.keys[4].hex()} at layer 3 "):
        write(lake, given)
    assert lake.list(suffix="") == []


def test_shapes_and_dtypes_are_checked(lake: Lake) -> None:
    given = activations(torch.float32)
    for change in (
        {"values": given.values.double()},
        {"values": given.values[1:]},
        {"keys": (b"short", *given.keys[1:])},
        {"layers": (3, 3)},
        {"n_tokens": (1,)},
    ):
        with pytest.raises(ValueError):
            write(lake, given._replace(**change))
    assert lake.list() == []


def test_damage_is_reported(lake: Lake, tmp_path: Path) -> None:
    address = write(lake, activations(torch.float32, n=50, width=64))
    whole = (tmp_path / address).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (whole[:-1], whole[:middle], b"", flipped):
        (tmp_path / address).write_bytes(damaged)
        report = verify(lake, address)
        assert not report.ok and report.reason and report.address == address
    (tmp_path / address).write_bytes(whole)
    assert verify(lake, address).ok


def _rewritten(lake: Lake, address: str, table: pa.Table, rows: int, **footer: Any) -> str:
    metadata = table.schema.metadata
    note = json.loads(metadata[b"pas.shard"]) | footer
    table = table.replace_schema_metadata({"pas.shard": json.dumps(note)})
    return verify(lake, lake.write_table(address, table, row_group_rows=rows)).reason


def test_files_that_break_the_contract_are_reported(lake: Lake) -> None:
    address = write(lake, activations(torch.float32))
    table = lake.read_table(address)
    nan = pa.array([[float("nan")] * 5] * 12, pa.list_(pa.float32()))
    ragged = pa.array([[1.0]] * 11 + [[1.0, 2.0]], pa.list_(pa.float32()))
    assert _rewritten(lake, address, table, 6) == ""
    assert "more than one layer" in _rewritten(lake, address, table, 12)
    assert "not sorted" in _rewritten(lake, address, table.take(list(range(11, -1, -1))), 6)
    assert "number of prompts" in _rewritten(lake, address, table, 6, n_prompts=7)
    assert "schema version" in _rewritten(lake, address, table, 6, schema_version=99)
    assert "address" in _rewritten(lake, address, table, 6, site="mlp")
    assert "address" in _rewritten(lake, address.replace("residual", "mlp"), table, 6)
    assert "unexpected columns" in _rewritten(lake, address, table.drop(["layer"]), 6)
    assert "not finite" in _rewritten(lake, address, table.set_column(2, "vector", nan), 6)
    half = table["vector"].cast(pa.list_(pa.float16()))
    assert "stored as halffloat" in _rewritten(
        lake, address, table.set_column(2, "vector", half), 6
    )
    assert "ragged" in _rewritten(lake, address, table.set_column(2, "vector", ragged), 6)
