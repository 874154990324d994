"""Small files become one, with the same rows, whatever happens meanwhile."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pas.engine.extract import Activations
from storage.catalogue.estimate import WEIGHTS, estimate
from storage.catalogue.views import cache_stats, missing
from storage.lake.answers import answers_address, read_answers, write_answers
from storage.lake.compaction import Merge, merge, small_files
from storage.lake.files import Lake, open_lake
from storage.lake.shards import read_footer, write_shard
from storage.lake.verification import verify

FINGERPRINT = "0123456789abcdef" * 2
LAYERS = (3, 14)
WIDTH = 5
PROMPTS = 60


def key(n: int) -> bytes:
    return blake2b(str(n).encode(), digest_size=16).digest()


def values(number: int, dtype: torch.dtype) -> torch.Tensor:
    made = torch.randn(len(LAYERS), WIDTH, generator=torch.Generator().manual_seed(number))
    return (made * 30).to(dtype)


def write(lake: Lake, numbers: range, dtype: torch.dtype = torch.float32, **other: Any) -> str:
    given = Activations(
        tuple(key(n) for n in numbers),
        tuple(10 + n for n in numbers),
        other.get("layers", LAYERS),
        torch.stack([values(n, dtype) for n in numbers]),
    )
    return write_shard(
        lake, FINGERPRINT, other.get("site", "residual"), given, {"id": other.get("id", "demo")}
    )


def compacted(lake: Lake, target: int = 10**9) -> list[str | None]:
    return [merge(lake, chosen) for chosen in small_files(lake, target, 0)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(str(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shards_become_one_with_the_same_rows(lake: Lake, dtype: torch.dtype) -> None:
    # They overlap by one prompt.
    for start in range(0, PROMPTS, 5):
        write(lake, range(start, min(start + 6, PROMPTS)), dtype)
    wanted = [key(n) for n in range(PROMPTS)]
    weights = pa.table(
        [["m"] * PROMPTS, pa.array(wanted, pa.binary(16)), np.linspace(-1, 1, PROMPTS)],
        schema=WEIGHTS,
    )
    before = estimate(lake, FINGERPRINT, "residual", weights, LAYERS)

    [address] = compacted(lake)
    assert lake.list() == [address]
    assert address is not None and verify(lake, address).ok
    assert read_footer(lake, address)["n_tokens"] == [
        10 + n for _, n in sorted((key(n), n) for n in range(PROMPTS))
    ]
    rows = lake.read_table(address).to_pylist()
    assert len(rows) == PROMPTS * len(LAYERS)
    number = {key(n): n for n in range(PROMPTS)}
    for row in rows:
        expected = values(number[row["prompt_key"]], dtype)[LAYERS.index(row["layer"])]
        assert row["vector"] == expected.tolist()
    assert missing(lake, FINGERPRINT, "residual", wanted, LAYERS) == set()
    after = estimate(lake, FINGERPRINT, "residual", weights, LAYERS)
    for column in ("direction", "norm"):
        for old, new in zip(before[column].to_pylist(), after[column].to_pylist(), strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-6)
    assert compacted(lake) == [], "done once, there is nothing left to do"


def test_only_what_is_alike_is_merged(lake: Lake) -> None:
    kept = [
        write(lake, range(0, 4)),
        write(lake, range(4, 8), site="mlp"),
        write(lake, range(4, 8), layers=(3, 15)),
        write(lake, range(8, 12), torch.bfloat16),
        write(lake, range(12, 16), id="other"),
    ]
    lake.write_text("activations/model=x/site=residual/0.parquet", "damaged")
    assert small_files(lake, 10**9, 0) == []
    added = write(lake, range(16, 20))
    [found] = small_files(lake, 10**9, 0)
    assert found == Merge(tuple(sorted((kept[0], added))), found.bytes)
    assert found.bytes == lake.size(kept[0]) + lake.size(added)
    assert small_files(lake, 10**9, 600) == [], "they may still be looked for"
    merge(lake, found)
    assert {*kept[1:]} < {*lake.list()}


def test_files_of_half_the_target_are_left_and_none_exceeds_it(lake: Lake) -> None:
    sizes = {write(lake, range(n, n + 4)): n for n in range(0, 40, 4)}
    size = max(map(lake.size, sizes))
    merges = small_files(lake, 3 * size, 0)
    assert sum(len(m.addresses) for m in merges) >= 9
    assert all(1 < len(m.addresses) <= 4 and m.bytes <= 3 * size for m in merges)
    assert small_files(lake, size, 0) == []


def test_a_file_that_goes_or_is_damaged_meanwhile_stops_the_merge(lake: Lake) -> None:
    addresses = [write(lake, range(n, n + 4)) for n in (0, 4, 8)]
    [chosen] = small_files(lake, 10**9, 0)
    lake.remove(addresses[0])
    assert merge(lake, chosen) is None
    assert lake.list() == sorted(addresses[1:])
    with open(lake.path(addresses[1]), "r+b") as file:
        file.seek(40)
        file.write(b"????")
    [chosen] = small_files(lake, 10**9, 0)
    assert merge(lake, chosen) is None
    assert lake.list() == [addresses[2]], "the damaged one is set aside"


def test_killed_before_the_old_files_are_removed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (0, 4, 8):
        write(lake, range(n, n + 4))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            compacted(lake)
    assert len(lake.list()) == 4
    wanted = [key(n) for n in range(12)]
    assert missing(lake, FINGERPRINT, "residual", wanted, LAYERS) == set()
    compacted(lake)
    assert missing(lake, FINGERPRINT, "residual", wanted, LAYERS) == set()
    [stats] = cache_stats(lake)
    assert (stats.shards, stats.prompts) == (1, 12)


def test_answers_become_one_file(lake: Lake) -> None:
    scores = {key(n): [float(n), -n / 3, np.inf] for n in range(40)}
    for start in range(0, 40, 4):
        some = {k: scores[k] for k in [*scores][start : start + 5]}
        for rule in ("letter-both", "choice-mean"):
            write_answers(lake, answers_address(lake, FINGERPRINT, rule, [*some]), some)
    assert len(compacted(lake)) == 2
    addresses = lake.list()
    assert len(addresses) == 2 and all(verify(lake, address).ok for address in addresses)
    for rule in ("letter-both", "choice-mean"):
        assert read_answers(lake, FINGERPRINT, rule, [*scores]) == scores
