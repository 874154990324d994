"""What an older version wrote stays readable: its lake, its vector, and its packaged model.

The fixture was written by the version whose modules stood side by side in `pas/` (0.1, before the
rooms): `pas train` on twenty toy questions and the tiny Llama. It holds the lake and the folder
that MLflow kept for the vector, with the code of that version in it.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pas.errors import UserError
from pas.steering.vector import SteeringVector
from storage.catalogue.views import cache_stats, query
from storage.lake.files import Lake, open_lake
from storage.lake.stages import read_split
from storage.lake.verification import intact_files, verify
from storage.registry.versions import VectorVersion
from tasks.promote import evaluation_of
from tests.helpers.places import ROOT
from tests.helpers.tiny_models import D_MODEL, save_tiny


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ROOT / "tests" / "fixtures" / "home-before-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def lake(written: Path) -> Lake:
    return open_lake(str(written / "lake"))


def test_the_views_read_its_tables(lake: Lake) -> None:
    counts = {
        view: query(lake, f"SELECT count(*) AS n FROM {view}")["n"][0].as_py()
        for view in ("items", "predictions", "sweeps", "evaluations", "vectors", "activations")
    }
    assert counts == {
        "items": 20,
        "predictions": 36 + 8,
        "sweeps": 12,
        "evaluations": 12,
        "vectors": 4,
        "activations": 48,
    }
    [unsteered] = query(
        lake, "SELECT avg(correct::INT) AS a FROM predictions WHERE method = 'none'"
    )["a"].to_pylist()
    assert 0 <= unsteered <= 1


def test_its_activations_are_sound_and_counted(lake: Lake) -> None:
    assert all(verify(lake, address).ok for address in lake.list())
    assert intact_files(lake, lake.files()) == lake.list()
    [held] = cache_stats(lake)
    assert (held.prompts, held.layers) == (24, (1, 2))


def test_its_split_is_read(lake: Lake) -> None:
    [address] = lake.list("stages/splits")
    parts = read_split(lake, address)
    assert [len(part) for part in parts] == [12, 4, 4]
    assert all(example.positions for part in parts for example in part)


def test_its_vector_is_read_and_cannot_be_promoted_unjudged(written: Path) -> None:
    vector = SteeringVector.load(written / "model" / "artifacts" / "vector")
    assert (vector.method, vector.layer, vector.strength) == ("caa", 1, 4.0)
    assert vector.direction.shape == (D_MODEL,) and np.isfinite(vector.direction).all()
    version = VectorVersion("pas-tiny-llama-toy", 1, "run", (), {}, None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="version 1: its vector carries no evaluation.*Train it"):
        evaluation_of(vector, version)


@pytest.mark.server
@pytest.mark.whole
def test_its_packaged_model_answers_with_its_own_code(written: Path) -> None:
    """In a process of its own, as `mlflow models serve` has it."""
    base = save_tiny("llama", written / "tiny-llama")
    script = (
        "import json, sys, mlflow\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1], model_config={'model': sys.argv[2]})\n"
        "import pandas, pas\n"
        "frame = pandas.DataFrame({'prompt': ['Where does the heron sleep?']})\n"
        "texts = [\n"
        "    model.predict(frame, params={'enabled': enabled, 'max_new_tokens': 8})\n"
        "    for enabled in (True, False)\n"
        "]\n"
        "print(json.dumps([pas.__file__, *texts]))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            _WITHOUT_THE_PROJECT + script,
            str(written / "model"),
            str(base),
        ],
        cwd=written,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    code, steered, unsteered = json.loads(done.stdout.splitlines()[-1])
    assert code.startswith(str(written / "model" / "code"))
    assert steered != unsteered


# The project is installed in place by a finder, which would come before the packaged code.
_WITHOUT_THE_PROJECT = (
    "import sys\n"
    "sys.meta_path = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '')"
    " and 'editable' not in getattr(f, '__name__', '')]\n"
)
