"""The catalogue over local, memory and (where s3fs is installed) S3 lakes."""

import multiprocessing
import uuid
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pas.engine.extract import Activations
from pas.errors import UserError
from storage.catalogue.estimate import estimate
from storage.catalogue.views import VIEWS, cache_stats, connect, missing, query
from storage.lake.files import Lake, open_lake
from storage.lake.shards import write_shard
from storage.lake.tables import TABLES, write_run_table
from storage.lake.verification import verify
from tests.helpers import object_store

FINGERPRINT = "0123456789abcdef" * 2


LAYERS = (-1, 3, 14)


WIDTH = 48


KEYS = [blake2b(str(n).encode(), digest_size=16).digest() for n in range(40)]


VALUES = torch.randn(40, 3, WIDTH, generator=torch.Generator().manual_seed(1)) * 20


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store.bucket() as url:
        yield url


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.server)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "local":
        return open_lake(str(tmp_path / "it's a lake"))
    if request.param == "memory":
        return open_lake(f"memory://{tmp_path.name}-{uuid.uuid4().hex}")
    return open_lake(f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}")


def store(
    lake: Lake,
    prompts: list[int],
    layers: tuple[int, ...] = LAYERS,
    *,
    dtype: torch.dtype = torch.float32,
    fingerprint: str = FINGERPRINT,
    shift: float = 0.0,
) -> str:
    columns = [LAYERS.index(layer) for layer in layers]
    values = (VALUES[prompts][:, columns] + shift).to(dtype)
    keys = tuple(KEYS[i] for i in prompts)
    given = Activations(keys, (7,) * len(keys), layers, values)
    return write_shard(lake, fingerprint, "residual", given, {"id": "demo"})


def weights_of(**methods: dict[int, float]) -> pa.Table:
    rows = [(m, KEYS[i], w) for m, prompts in methods.items() for i, w in prompts.items()]
    method, keys, weight = zip(*rows, strict=True)
    return pa.table(
        {"method": method, "prompt_key": pa.array(keys, pa.binary(16)), "weight": weight}
    )


def expected(prompts: dict[int, float], layer: int, values: torch.Tensor = VALUES) -> np.ndarray:
    column = values[list(prompts), LAYERS.index(layer)].double().numpy()
    return np.array(list(prompts.values())) @ column


PASF = {i: 1 / 12 if i < 12 else -1 / 18 for i in range(30)}


IPASA = {i: 1 / 10 if i % 2 else -1 / 10 for i in range(20, 40)}


def test_estimate_is_the_weighted_sum_and_counts_duplicates_once(lake: Lake) -> None:
    store(lake, list(range(20)))
    store(lake, list(range(15, 40)), (14, 3))
    store(lake, list(range(15, 40)), (-1,))
    store(lake, list(range(10, 22)), dtype=torch.float32)
    store(lake, list(range(40)), fingerprint="f" * 32, shift=1000.0)
    found = estimate(
        lake, FINGERPRINT, "residual", weights_of(PASf=PASF, iPASa=IPASA), (14, -1, 14)
    )
    assert found.schema.names == ["method", "layer", "direction", "norm"]
    assert found.schema.types == [pa.string(), pa.int16(), pa.list_(pa.float32()), pa.float64()]
    rows = found.to_pylist()
    assert [(r["method"], r["layer"]) for r in rows] == [
        (m, layer) for m in ("PASf", "iPASa") for layer in (-1, 14)
    ]
    for row in rows:
        want = expected({"PASf": PASF, "iPASa": IPASA}[row["method"]], row["layer"])
        np.testing.assert_allclose(row["direction"], want, rtol=1e-6, atol=1e-7)
        assert row["norm"] == pytest.approx(np.linalg.norm(want), rel=1e-6)
        assert row["norm"] == pytest.approx(np.linalg.norm(row["direction"]), rel=1e-12)


def test_of_conflicting_duplicates_one_whole_vector_is_taken(lake: Lake) -> None:
    first = store(lake, [0, 1, 2])
    second = store(lake, [1, 2, 3], shift=500.0)
    found = estimate(lake, FINGERPRINT, "residual", weights_of(m={1: 1.0, 2: -0.5, 3: 1.0}), [3])
    shift = {1: 500.0, 2: 500.0, 3: 500.0} if second < first else {3: 500.0}
    want = expected({1: 1.0, 2: -0.5, 3: 1.0}, 3)
    want = want + sum({1: 1.0, 2: -0.5, 3: 1.0}[i] * s for i, s in shift.items())
    np.testing.assert_allclose(found["direction"][0].as_py(), want, rtol=1e-5)


def test_half_and_full_precision_shards_mix(lake: Lake) -> None:
    store(lake, list(range(0, 20)), dtype=torch.float16)
    store(lake, list(range(20, 40)))
    mixed = VALUES.clone()
    mixed[:20] = mixed[:20].half().float()
    row = estimate(lake, FINGERPRINT, "residual", weights_of(m=PASF), [3]).to_pylist()[0]
    np.testing.assert_allclose(row["direction"], expected(PASF, 3, mixed), rtol=1e-6, atol=1e-7)


def test_estimate_repeats_to_the_bit_and_hardly_depends_on_the_cut(tmp_path: Path) -> None:
    cuts = ([range(40)], [range(0, 7), range(7, 33), range(33, 40)], [range(20, 40), range(25)])
    found = []
    for n, cut in enumerate(cuts):
        lake = open_lake(str(tmp_path / str(n)))
        for part in cut:
            store(lake, list(part))
        again = [
            estimate(lake, FINGERPRINT, "residual", weights_of(m=PASF), LAYERS) for _ in range(5)
        ]
        assert all(table.equals(again[0]) for table in again)
        found.append(np.float32(again[0]["direction"].to_pylist()))
    np.testing.assert_array_max_ulp(found[0], found[1], maxulp=1)
    np.testing.assert_array_max_ulp(found[0], found[2], maxulp=1)


def test_many_shards_stream_within_a_small_memory_limit(tmp_path: Path) -> None:
    lake, width, count, size = open_lake(str(tmp_path)), 4096, 96, 20
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(count * size, 2, width, generator=generator) + 3
    keys = [blake2b(f"many {n}".encode(), digest_size=16).digest() for n in range(len(values))]
    for start in range(0, len(values), size):
        # The second half of every shard is in the next one again.
        rows = range(start, min(start + size * 3 // 2, len(values)))
        given = Activations(tuple(keys[i] for i in rows), (7,) * len(rows), (3, 14), values[rows])
        write_shard(lake, FINGERPRINT, "residual", given, {"id": "demo"})
    sign = np.where(np.arange(len(values)) % 3, 1.0, -1.0) / len(values)
    weights = pa.table(
        {
            "method": pa.array(["m"] * len(keys)),
            "prompt_key": pa.array(keys, pa.binary(16)),
            "weight": pa.array(sign),
        }
    )
    limit = 32_000_000
    assert values.nbytes > limit
    found = estimate(
        lake, FINGERPRINT, "residual", weights, (3, 14), memory_limit=f"{limit}B", threads=2
    )
    for column, direction in enumerate(found["direction"].to_pylist()):
        want = sign @ values[:, column].double().numpy()
        np.testing.assert_allclose(direction, want, rtol=1e-6)


def test_the_number_of_threads_changes_no_bit(lake: Lake) -> None:
    for start in range(0, 40, 8):
        store(lake, list(range(start, start + 8)))
    weights = weights_of(PASf=PASF, iPASa=IPASA)
    one, two, many = (
        estimate(lake, FINGERPRINT, "residual", weights, LAYERS, threads=threads)
        for threads in (1, 2, 8)
    )
    assert one.equals(two) and one.equals(many)


def test_any_number_and_name_of_methods(lake: Lake) -> None:
    store(lake, list(range(20)))
    store(lake, list(range(20, 40)))
    names = ["m", "M", "weight 1", "", "'", '"', "é", "prompt_key", "value", *map(str, range(10))]
    methods = {name: {n: 1.0, n + 20: -0.5} for n, name in enumerate(names)}
    found = estimate(lake, FINGERPRINT, "residual", weights_of(**methods), [14, 3]).to_pylist()
    assert [(row["method"], row["layer"]) for row in found] == [
        (name, layer) for name in sorted(names) for layer in (3, 14)
    ]
    for row in found:
        want = expected(methods[row["method"]], row["layer"])
        np.testing.assert_allclose(row["direction"], want, rtol=1e-6, atol=1e-7)
    nothing = weights_of(m={0: 1.0}).slice(0, 0)
    assert len(estimate(lake, FINGERPRINT, "residual", nothing, [3])) == 0


def test_shards_of_other_prompts_are_opened_for_their_keys_only(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    addresses = sorted(store(lake, list(range(start, start + 8))) for start in range(0, 40, 8))
    for address in addresses[::2]:
        file = tmp_path / address
        content = bytearray(file.read_bytes())
        for group in range(len(LAYERS)):
            vectors = pq.read_metadata(file).row_group(group).column(2)
            end = vectors.data_page_offset + vectors.total_compressed_size
            content[vectors.data_page_offset : end] = bytes(end - vectors.data_page_offset)
        file.write_bytes(content)
    found = {i for a in addresses[1::2] for i in range(40) if KEYS[i] in shard_keys(lake, a)}
    weights = dict.fromkeys(found, 0.25)
    row = estimate(lake, FINGERPRINT, "residual", weights_of(m=weights), [14]).to_pylist()[0]
    np.testing.assert_allclose(row["direction"], expected(weights, 14), rtol=1e-6, atol=1e-7)
    with pytest.raises(LookupError, match="extract them first"):
        estimate(lake, FINGERPRINT, "residual", weights_of(m=dict.fromkeys(range(40), 1.0)), [14])
    assert lake.list("quarantine") == [f"quarantine/{address}" for address in addresses[::2]]


def shard_keys(lake: Lake, address: str) -> set[bytes]:
    return set(lake.read_table(address)["prompt_key"].to_pylist())


def test_sessions_are_bounded_and_say_which_setting_helps(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    store(lake, [0])
    with connect(lake) as connection:
        limit = "SELECT current_setting('memory_limit')"
        assert connection.sql(limit).fetchall() == [("953.6 MiB",)]
    with pytest.raises(UserError, match="PAS_MEMORY_LIMIT"):
        estimate(lake, FINGERPRINT, "residual", weights_of(m={0: 1.0}), [3], memory_limit="100KB")


def test_a_prompt_twice_in_a_method_counts_with_both_weights(lake: Lake) -> None:
    store(lake, [0, 1])
    twice = pa.concat_tables([weights_of(m={0: 1.0, 1: 0.5}), weights_of(m={0: 1.0})])
    row = estimate(lake, FINGERPRINT, "residual", twice, [3]).to_pylist()[0]
    np.testing.assert_allclose(row["direction"], expected({0: 2.0, 1: 0.5}, 3), rtol=1e-6)


def test_estimate_says_how_many_prompts_are_missing(lake: Lake) -> None:
    with pytest.raises(LookupError, match="30 of 30 weighted prompts"):
        estimate(lake, FINGERPRINT, "residual", weights_of(m=PASF), [3])
    store(lake, list(range(28)))
    store(lake, [28, 29], (-1, 14))
    with pytest.raises(LookupError, match="2 of 30 weighted prompts"):
        estimate(lake, FINGERPRINT, "residual", weights_of(m=PASF), [3, 14])
    assert len(estimate(lake, FINGERPRINT, "residual", weights_of(m=PASF), [14])) == 1


def test_missing_looks_at_one_model_one_site_and_every_layer(lake: Lake) -> None:
    assert missing(lake, FINGERPRINT, "residual", KEYS, LAYERS) == set(KEYS)
    store(lake, [0, 1, 2, 3])
    store(lake, [4, 5], (3,))
    store(lake, [5, 6], (14, -1))
    store(lake, [7, 8], fingerprint="f" * 32)
    assert missing(lake, FINGERPRINT, "residual", KEYS[:9], LAYERS) == set(
        KEYS[i] for i in (4, 6, 7, 8)
    )
    assert missing(lake, FINGERPRINT, "residual", KEYS[:9] * 2, [3]) == set(KEYS[6:9])
    assert missing(lake, FINGERPRINT, "mlp", KEYS[:2], [3]) == set(KEYS[:2])
    assert missing(lake, FINGERPRINT, "residual", [], LAYERS) == set()
    with pytest.raises(UserError):
        missing(lake, "../..", "residual", KEYS, LAYERS)


def test_views_are_there_and_typed_before_any_file(lake: Lake) -> None:
    with connect(lake, memory_limit="500MB") as connection:
        for view in VIEWS:
            assert connection.sql(f"SELECT count(*) FROM {view}").fetchall() == [(0,)]
        types = dict(
            connection.sql("SELECT name, type FROM pragma_table_info('predictions')").fetchall()
        )
    assert types["scores"] == "DOUBLE[]" and types["correct"] == "BOOLEAN"


def test_names_in_sql_are_never_python_variables(tmp_path: Path) -> None:
    sweep = pa.table({"n": [1]})
    with connect(open_lake(str(tmp_path))) as connection, pytest.raises(duckdb.CatalogException):
        connection.sql("SELECT * FROM sweep")
    assert sweep.num_rows == 1


def test_views_show_the_files(lake: Lake) -> None:
    store(lake, [0, 1])
    sweep = {"method": ["PASf"], "layer": [3], "strength": [1.0], "n": [4], "correct": [3]}
    for run, accuracy in (("r1", 0.75), ("r2", 0.5)):
        write_run_table(lake, "sweeps", run, pa.table(sweep | {"accuracy": [accuracy]}))
    columns = query(lake, "DESCRIBE activations")["column_name"].to_pylist()
    assert columns == ["prompt_key", "layer", "vector"]
    assert (
        query(lake, "DESCRIBE sweeps")["column_name"].to_pylist() == TABLES["sweeps"].schema.names
    )
    best = query(lake, "SELECT run_id FROM sweeps ORDER BY accuracy DESC LIMIT 1;")
    assert best.to_pylist() == [{"run_id": "r1"}]
    rows = query(lake, "FROM activations WHERE layer = 14 ORDER BY prompt_key").to_pylist()
    assert {r["prompt_key"] for r in rows} == {KEYS[0], KEYS[1]}
    assert query(lake, "EXPLAIN ANALYZE SELECT max(layer) FROM activations").num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "FROM 'secret.txt'",
        "COPY sweeps TO '{lake}/x.csv'",
        "COPY sweeps TO '/tmp/pas-x.csv'",
        "EXPLAIN ANALYZE COPY sweeps TO '{lake}/x.csv'",
        "/* EXPLAIN SELECT */ EXPLAIN ANALYZE COPY sweeps TO '{lake}/x.csv'",
        "ATTACH '{lake}/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CREATE TABLE t (n INT)",
        "DROP VIEW activations",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY sweeps TO '{lake}/x.csv'",
        "",
        "SELEC",
        "SELECT * FROM nothing",
    ],
)
def test_user_sql_reads_the_lake_and_nothing_else(lake: Lake, sql: str) -> None:
    store(lake, [0])
    before = lake.files(suffix="")
    with pytest.raises(UserError, match="activations"):
        query(lake, sql.format(lake=lake.uri().replace("'", "''")))
    assert lake.files(suffix="") == before
    assert not Path("/tmp/pas-x.csv").exists()


def test_user_sql_does_not_reach_the_lakes_neighbours(lake: Lake) -> None:
    neighbour = f"{lake.root.rpartition('/')[0]}/secret.txt"
    lake.fs.pipe_file(neighbour, b"secret")
    store(lake, [0])
    uri = lake.uri().replace("'", "''")
    with pytest.raises(UserError, match="Permission"):
        query(lake, f"SELECT * FROM read_text('{uri.rpartition('/')[0]}/secret.txt')")
    dotted = f"SELECT * FROM read_text('{uri}/../secret.txt')"
    if lake.is_local:
        with pytest.raises(UserError, match="Permission"):
            query(lake, dotted)
    else:
        assert query(lake, dotted).num_rows == 0
    lake.fs.rm_file(neighbour)


def test_cache_stats(lake: Lake) -> None:
    assert cache_stats(lake) == []
    addresses = [store(lake, [0, 1, 2]), store(lake, [2, 3], (3,))]
    other = store(lake, [0], fingerprint="f" * 32)
    total = sum(lake.size(address) for address in addresses)
    assert cache_stats(lake) == [
        (FINGERPRINT, "demo", "residual", 2, 4, LAYERS, total),
        ("f" * 32, "demo", "residual", 1, 1, LAYERS, lake.size(other)),
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda lake: missing(lake, FINGERPRINT, "residual", KEYS[:4], [3]),
        lambda lake: estimate(lake, FINGERPRINT, "residual", weights_of(m={0: 1.0}), [3]),
        cache_stats,
    ],
    ids=["missing", "estimate", "stats"],
)
def test_a_shard_that_cannot_be_opened_is_set_aside(
    ask: Callable[[Lake], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = open_lake(str(tmp_path))
    store(lake, [0, 1])
    broken = store(lake, [2, 3])
    file = tmp_path / broken
    file.write_bytes(file.read_bytes()[:-40])
    ask(lake)
    assert f"{broken} is damaged" in caplog.text
    assert lake.list("quarantine") == [f"quarantine/{broken}"]
    assert missing(lake, FINGERPRINT, "residual", KEYS[:4], [3]) == set(KEYS[2:4])


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    row = {"method": "caa", "layer": 3, "strength": 1.0, "n": 4, "correct": 3, "accuracy": 0.75}
    address = write_run_table(lake, "sweeps", "r1", pa.Table.from_pylist([row]))
    assert query(lake, "SELECT count(*) AS n FROM sweeps")["n"].to_pylist() == [1]
    content = bytearray((tmp_path / address).read_bytes())
    content[10] ^= 1
    (tmp_path / address).write_bytes(content)
    with pytest.raises(UserError, match=f"{address} is damaged.*checksum"):
        query(lake, "SELECT count(*) AS n FROM sweeps")
    assert query(lake, "SELECT count(*) AS n FROM items")["n"].to_pylist() == [0]


def test_bad_settings_and_weights_are_refused(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    store(lake, [0])
    with pytest.raises(UserError, match="PAS_MEMORY_LIMIT 'lots'"):
        query(lake, "SELECT 1", memory_limit="lots")
    with pytest.raises(ValueError, match="NULL"):
        estimate(lake, FINGERPRINT, "residual", weights_of(m={0: None}), [3])  # type: ignore[dict-item]


def _write_all(url: str) -> None:
    for start in range(0, 40, 8):
        store(Lake(url), list(range(start, start + 8)))


@pytest.mark.faults
def test_two_runs_at_once_never_corrupt_each_other(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_write_all, args=(lake.url,)) for _ in range(2)]
    for run in runs:
        run.start()
    counts = [len(missing(lake, FINGERPRINT, "residual", KEYS, LAYERS))]
    while any(run.is_alive() for run in runs):
        counts.append(len(missing(lake, FINGERPRINT, "residual", KEYS, LAYERS)))
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert counts == sorted(counts, reverse=True)
    assert missing(lake, FINGERPRINT, "residual", KEYS, LAYERS) == set()
    reports = [verify(lake, address) for address in lake.list()]
    assert len(reports) == 5 and all(report.ok for report in reports)
