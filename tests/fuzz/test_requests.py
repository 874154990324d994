"""Whatever MLflow's server is asked about a vector, it answers with text or with status 400."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector
from storage.registry.promotion import promote
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.settings import Registry
from tests.helpers.fuzz import bounded, changed

pytestmark = pytest.mark.faults
NAME = "pas-tiny-toy"
# Requests that are answered take a model; the shorter the better.
QUICK = {"max_new_tokens": 1}
GOOD = json.dumps({"inputs": ["It eats"], "params": QUICK}).encode()
_texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", " ", "\ud83d", "\0", "heron " * 2000, "nan", "1", "user", "assistant"]),
)
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _texts,
    st.sampled_from([10**400, -1, 0, 1e300]),
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["prompt", "messages", "role", "content", "columns", "data", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
_params = st.dictionaries(
    st.sampled_from(["strength", "enabled", "max_new_tokens", "describe", "other"]),
    _scalars,
    max_size=3,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[TestClient]:
    import mlflow
    from mlflow.pyfunc import scoring_server

    home = tmp_path_factory.mktemp("serve")
    base = load_model(ModelSpec(str(tiny_folder), device="cpu"), home / "cache")
    vector = SteeringVector(
        direction=np.ones(base.info.d_model, np.float32), layer=1, site="residual", strength=3.0,
        method="PASf", model=base.spec, fingerprint=base.fingerprint, task="toy",
    )  # fmt: skip
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    with open_run(registry, experiment="serving", run_name=NAME) as run_id:
        data = TrainingData("toy", "built in", "0" * 32, pa.table({"id": ["a"]}))
        made = log_training(registry, run_id, TrainingRecord(vector, data, "It eats", NAME, {}))
    promote(registry, NAME, made.version)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
        patched.setattr(sys, "path", list(sys.path))
        config = {"cache_dir": str(home / "cache")}
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion", model_config=config)
        yield TestClient(scoring_server.init(model), raise_server_exceptions=False)


def ask(server: TestClient, body: bytes, tally: Any) -> None:
    tally.add("fuzzed inputs", tried=1)
    kind = {"Content-Type": "application/json"}
    answer = server.post("/invocations", content=body, headers=kind)
    assert answer.status_code in (200, 400, 415), (answer.status_code, answer.text[:600])
    tally.add("fuzzed inputs", handled=1)


def test_a_good_request_is_answered(server: TestClient) -> None:
    kind = {"Content-Type": "application/json"}
    assert server.post("/invocations", content=GOOD, headers=kind).status_code == 200


@bounded(100)
@given(body=changed(GOOD))
def test_changed_bytes(server: TestClient, tally: Any, body: bytes) -> None:
    ask(server, body, tally)


@bounded(150)
@given(form=st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records"]),
       value=_values, params=_params)  # fmt: skip
def test_other_documents(
    server: TestClient, tally: Any, form: str, value: Any, params: dict[str, Any]
) -> None:
    ask(server, json.dumps({form: value, "params": QUICK | params}).encode(), tally)


@bounded(100)
@given(column=st.sampled_from(["prompt", "messages"]), cells=st.lists(_values, max_size=3),
       params=_params)  # fmt: skip
def test_other_columns(
    server: TestClient, tally: Any, column: str, cells: list[Any], params: dict[str, Any]
) -> None:
    records = [{column: cell} for cell in cells]
    body = {"dataframe_records": records, "params": QUICK | params}
    ask(server, json.dumps(body).encode(), tally)
