"""No pickle is written into a home, and none that somebody else puts there is run."""

import base64
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers.data_files import write_toy
from tests.helpers.pickles import is_pickle, pickled
from tests.helpers.processes import PATIENCE, environment

pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_a_pickle_is_found_where_there_is_one(tmp_path: Path) -> None:
    content = pickle.dumps({"a": [1, 2]})
    for name, held in (
        ("raw", content),
        ("result", b'{"result": "' + base64.b64encode(content) + b'"}'),
        ("state.db", b'\0{"serializer": {"type":"pickle"}}'),
    ):
        file = tmp_path / name
        file.write_bytes(held)
        assert is_pickle(file), name
    (tmp_path / "plain.json").write_text('{"result": "a/b"}')
    assert not is_pickle(tmp_path / "plain.json")


def lacks_schema(file: Path) -> bool:
    """Whether something that is read again does not say by which schema it is written."""
    if file.suffix == ".parquet" and "lake" in file.parts:
        return (pq.read_metadata(file).metadata or {}).get(b"pas.schema") != b"1"
    if file.name in ("steering.json", "lineage.json", "composition.json"):
        return type(json.loads(file.read_text()).get("schema")) is not int
    return False


def test_a_study_leaves_no_pickle_and_runs_none(tmp_path: Path, tiny_folder: Path) -> None:
    write_toy(tmp_path / "one.jsonl", 40)
    content = {
        "name": "toy", "models": [str(tiny_folder)], "seeds": 1,
        "recipe": {"layers": "1", "strengths": "4", "group_col": "topic"},
        "tasks": [{"task": "one", "data": "one.jsonl"}], "settings": {"icl": {"shots": 2}},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    home, trace = tmp_path / "home", tmp_path / "trace"

    def study() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "study", str(tmp_path / "study.yaml")],
            env=environment(home), capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    study()
    files = [file for file in home.rglob("*") if file.is_file()]
    assert {"mlflow.db", "prefect.db"} < {file.name for file in files}
    assert [file for file in files if is_pickle(file)] == []
    assert [file for file in files if lacks_schema(file)] == []
    results = home / "prefect" / "storage"
    assert not results.exists() or not any(results.iterdir()), "nothing to be read from there"

    # As Prefect would write it, under the key that a task of before had in the result store.
    harmful = (
        '{"metadata": {"serializer": {"type": "pickle"}}, "result": "'
        f'{base64.b64encode(pickled(trace)).decode()}"}}'
    )
    results.mkdir(exist_ok=True)
    stages = [file for file in (home / "lake" / "stages").rglob("*.parquet")]
    for file in stages:
        address = file.relative_to(home / "lake").as_posix().replace("/", "-")
        for task in ("predict", "estimate", "sweep", "answer-test-items", "damage", "shots"):
            (results / f"{task}-{address}").write_text(harmful)
    for file in stages:
        if "results" not in file.parts:
            continue
        file.unlink()  # the cells run again, from what their steps have left
    assert "study: 2 of 2" in study()
    assert not trace.exists()
