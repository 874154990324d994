"""The SQL aggregation against the estimator in memory, on the same activations."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pas.engine.extract import Activations
from pas.errors import UserError
from pas.methods.estimate import estimate_directions
from storage.catalogue.estimate import WEIGHTS, estimate
from storage.lake.files import open_lake
from storage.lake.shards import write_shard

FINGERPRINT = "f" * 32
LAYERS = (2, 5, 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_both_estimators_agree(tmp_path: Path, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(3)
    n, width = 90, 17
    values = torch.from_numpy(rng.standard_normal((n, len(LAYERS), width)) * 50 + 400).to(dtype)
    keys = tuple(rng.bytes(16) for _ in range(n))
    whole = Activations(keys, (4,) * n, LAYERS, values)
    weights = {
        (method, keys[i]): float(sign) / 20
        for method in ("pasf", "ipaswo", "caa")
        for sign, chosen in zip((1, -1), rng.permutation(n)[:40].reshape(2, 20), strict=True)
        for i in chosen
    }
    lake = open_lake(str(tmp_path))
    for rows in (slice(0, 50), slice(40, n)):  # ten prompts are stored twice and count once
        part = Activations(keys[rows], (4,) * len(keys[rows]), LAYERS, values[rows])
        write_shard(lake, FINGERPRINT, "residual", part, {"id": "made"})
    table = pa.table(
        {
            "method": [method for method, _ in weights],
            "prompt_key": pa.array([key for _, key in weights], pa.binary(16)),
            "weight": list(weights.values()),
        },
        schema=WEIGHTS,
    )
    rows = estimate(lake, FINGERPRINT, "residual", table, LAYERS).to_pylist()
    expected = estimate_directions(weights, whole, LAYERS)
    assert {(row["method"], row["layer"]) for row in rows} == expected.direction.keys()
    for row in rows:
        key = (row["method"], row["layer"])
        np.testing.assert_allclose(row["direction"], expected.direction[key], rtol=1e-6, atol=1e-6)
        assert row["norm"] == pytest.approx(expected.norm[key], rel=1e-6)


def test_both_estimators_refuse_a_direction_that_is_not_finite(tmp_path: Path) -> None:
    """The difference of two large numbers is larger than float32 holds, at one layer alone."""
    keys = (b"a" * 16, b"b" * 16)
    values = torch.tensor([[[1.0, 2.0], [3e38, 1.0]], [[1.0, 0.0], [-3e38, 1.0]]])
    whole = Activations(keys, (4, 4), (2, 5), values)
    lake = open_lake(str(tmp_path))
    write_shard(lake, FINGERPRINT, "residual", whole, {"id": "made"})
    weights = {("caa", keys[0]): 1.0, ("caa", keys[1]): -1.0}
    columns = (["caa", "caa"], pa.array(keys, pa.binary(16)), [1.0, -1.0])
    table = pa.table(dict(zip(WEIGHTS.names, columns, strict=True)), schema=WEIGHTS)
    reason = "the direction of method caa at layer 5 is not finite"
    with pytest.raises(UserError, match=reason):
        estimate(lake, FINGERPRINT, "residual", table, (2, 5))
    with pytest.raises(UserError, match=reason):
        estimate_directions(weights, whole, (2, 5))
    (row,) = estimate(lake, FINGERPRINT, "residual", table, (2,)).to_pylist()
    assert row["direction"] == [0.0, 2.0]
