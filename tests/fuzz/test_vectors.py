"""Whatever the files of a vector hold, they give a vector that can be added, or an error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pas.errors import UserError
from pas.steering.vector import STEERING_FILE, WEIGHTS_FILE, SteeringVector
from tests.helpers.fuzz import bounded, changed
from tests.helpers.registries import vector

pytestmark = pytest.mark.faults
_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
        st.sampled_from(["residual", "chat", "plain", "auto", 10**400, "\ud800", -0.0]),
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "kind", "system", "dtype", "x"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    folder = tmp_path_factory.mktemp("vector")
    vector().save(folder)
    return folder, (folder / STEERING_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes()


def load(folder: Path, facts: bytes, weights: bytes, tally: Any) -> SteeringVector | None:
    (folder / STEERING_FILE).write_bytes(facts)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    tally.add("fuzzed inputs", tried=1)
    loaded = None
    try:
        loaded = SteeringVector.load(folder)
        assert loaded.direction.dtype == np.float32 and np.isfinite(loaded.direction).all()
        assert np.isfinite(loaded.strength) and loaded.layer >= 0
        assert not loaded.model.trust_remote_code
        assert len(loaded.digest) == 32
    except UserError as error:
        assert folder.name in str(error)
    tally.add("fuzzed inputs", handled=1)
    return loaded


@bounded(200)
@given(data=st.data())
def test_changed_bytes(files: tuple[Path, bytes, bytes], tally: Any, data: st.DataObject) -> None:
    folder, facts, weights = files
    which = data.draw(st.sampled_from(["facts", "weights", "weights without a checksum"]))
    if which == "facts":
        load(folder, data.draw(changed(facts)), weights, tally)
        return
    other = data.draw(changed(weights))
    if which == "weights":
        loaded = load(folder, facts, other, tally)
        assert loaded is None or other == weights, "the checksum is of the weights"
    else:
        plain = {k: v for k, v in json.loads(facts).items() if k != "sha256"}
        load(folder, json.dumps(plain).encode(), other, tally)


@bounded(300)
@given(data=st.data())
def test_other_fields(files: tuple[Path, bytes, bytes], tally: Any, data: st.DataObject) -> None:
    folder, facts, weights = files
    held = json.loads(facts)
    place = data.draw(st.sampled_from([held, held["model"], held.setdefault("prompt", {})]))
    name = data.draw(st.sampled_from([*place, "kind", "schema", "unknown"]))
    place[name] = data.draw(_values)
    load(folder, json.dumps(held).encode(), weights, tally)


@bounded(100)
@given(document=_values)
def test_other_documents(files: tuple[Path, bytes, bytes], tally: Any, document: Any) -> None:
    folder, _, weights = files
    assert load(folder, json.dumps(document).encode(), weights, tally) is None
