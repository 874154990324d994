"""Runs, versions, aliases and promotion in a real MLflow store: SQLite and a local folder."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from pas.errors import UserError
from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector
from storage.registry.client import client, ensure_experiment
from storage.registry.promotion import PROMOTION_TAG, history, promote, rollback
from storage.registry.runs import Registration, TrainingData, TrainingRecord, log_training, open_run
from storage.registry.versions import (
    find_aliases,
    list_versions,
    load_vector,
    model_name,
    resolve,
)
from storage.settings import Registry
from tests.helpers.places import ROOT

FINDINGS = [{"gate": "test accuracy", "passed": True, "value": 0.71, "threshold": 0.7}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def registry(home: Path) -> Registry:
    return Registry(f"sqlite:///{home}/mlflow/mlflow.db", str(home / "artifacts"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder and find it empty afterwards: no ./mlruns, no ./mlflow.db."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []


def vector(strength: float = 2.0) -> SteeringVector:
    return SteeringVector(
        direction=np.linspace(-1, 1, 48, dtype=np.float32), layer=1, site="residual",
        strength=strength, method="PASf", model=ModelSpec("some/model"), fingerprint="f" * 32,
        task="toy", provenance={"seed": 7},
    )  # fmt: skip


def training(name: str, **changed: Any) -> TrainingRecord:
    figure = Figure()
    figure.subplots().plot([1, 2])
    rows = pa.table({"id": ["a"], "choices": [["x", "y"]], "label": [1]})
    record = TrainingRecord(
        vector(),
        TrainingData("toy", "some/dataset@v1", "d" * 32, rows),
        "It eats",
        name,
        {"method": "PASf", "layer": 1, "test_delta": 0.25},
        params={"seed": 7, "layers": [1, 2]},
        metrics={"test_delta": 0.25},
        tables={"sweep": pd.DataFrame({"layer": range(600), "accuracy": 0.5})},
        figures={"sweep": figure},
        lineage={"shards": ["k1", "k2"]},
    )
    return replace(record, **changed)


def log(registry: Registry, name: str, **changed: Any) -> Registration:
    with open_run(registry, experiment="tests/registry", run_name=name) as run_id:
        return log_training(registry, run_id, training(name, **changed))


@contextmanager
def failing_alias(home: Path, alias: str) -> Iterator[None]:
    """Let the database itself refuse to write one alias, as if the run had died there."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        for verb in ("insert", "update"):
            database.execute(
                f"create trigger refuse_{verb} before {verb} on registered_model_aliases "
                f"when new.alias = '{alias}' begin select raise(abort, 'refused'); end"
            )
        try:
            yield
        finally:
            for verb in ("insert", "update"):
                database.execute(f"drop trigger refuse_{verb}")


def test_run_holds_the_evidence(registry: Registry, home: Path) -> None:
    name = model_name("Tiny Llama/1B", "BBQ Religion")
    assert name == "pas-tiny-llama-1b-bbq-religion"
    url = "https://user:hunter2@host.example/rows.csv?X-Signature=hunter3#part"
    rows = training(name).data._replace(source=url)
    done = log(registry, name, data=rows)
    store = client(registry)
    run = store.get_run(done.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "7", "layers": "[1, 2]"}
    assert run.data.metrics == {"test_delta": 0.25}
    dataset = run.inputs.dataset_inputs[0]
    assert dataset.dataset.digest == "d" * 32
    assert json.loads(dataset.dataset.source)["tags"]["source"] == "https://host.example/rows.csv"
    assert [tag.value for tag in dataset.tags] == ["training"]
    kept = home / "artifacts" / "tests-registry" / done.run_id / "artifacts"
    assert pq.read_table(kept / "tables/sweep.parquet").num_rows == 600
    assert len(json.loads((kept / "tables/sweep.json").read_text())["data"]) == 500
    assert (kept / "plots/sweep.png").stat().st_size > 1000
    assert json.loads((kept / "lineage.json").read_text()) == {"shards": ["k1", "k2"]}

    version = resolve(registry, name)
    assert (version.version, version.aliases, version.run_id) == (1, ("candidate",), done.run_id)
    assert version.tags == {
        "method": "PASf", "layer": "1", "test_delta": "0.25", "vector_digest": vector().digest,
    }  # fmt: skip
    assert abs((datetime.now(UTC) - version.created).total_seconds()) < 600
    model = store.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert [(metric.key, metric.value) for metric in model.metrics] == [("test_delta", 0.25)]
    loaded = load_vector(registry, version)
    assert np.array_equal(loaded.direction, vector().direction)
    assert loaded.model == vector().model and loaded.provenance == {"seed": 7}


def test_promote_and_roll_back(registry: Registry) -> None:
    name = "pas-tiny-promotion"
    for strength in (1.0, 2.0, 3.0):
        log(registry, name, vector=vector(strength))
    assert resolve(registry, name).version == 3  # no champion yet: the candidate
    with pytest.raises(UserError, match="no previous champion"):
        rollback(registry, name)
    assert promote(registry, name, 1, FINDINGS) == (name, 1, None)
    assert resolve(registry, name).version == 1
    assert find_aliases(registry, name) == {"champion": 1, "candidate": 3}
    assert promote(registry, name, 3, FINDINGS) == (name, 3, 1)
    assert find_aliases(registry, name) == {"champion": 3, "previous": 1}
    assert promote(registry, name, 3, FINDINGS) == (name, 3, 1)  # a retry changes nothing
    assert find_aliases(registry, name) == {"champion": 3, "previous": 1}
    assert rollback(registry, name) == (name, 1, 3)
    assert find_aliases(registry, name) == {"champion": 1, "previous": 3}
    assert load_vector(registry, resolve(registry, f"{name}@champion")).strength == 1.0
    assert rollback(registry, name) == (name, 3, 1)
    assert promote(registry, name, 2) == (name, 2, 3)

    told = history(registry, name)
    assert [(entry["action"], entry["version"], entry["replaced"]) for entry in told] == [
        ("promote", 1, None), ("promote", 3, 1), ("rollback", 1, 3), ("rollback", 3, 1),
        ("promote", 2, 3),
    ]  # fmt: skip
    assert told[1]["findings"] == FINDINGS
    assert [entry["time"] for entry in told] == sorted(entry["time"] for entry in told)
    tags = resolve(registry, f"{name}:3").tags
    assert [json.loads(v)["action"] for k, v in sorted(tags.items()) if PROMOTION_TAG in k] == [
        "promote", "rollback",
    ]  # fmt: skip
    listed = [(v.version, v.aliases) for v in list_versions(registry) if v.name == name]
    assert listed == [(3, ("previous",)), (2, ("champion",)), (1, ())]


def test_the_same_content_makes_no_second_version(registry: Registry) -> None:
    name = "pas-tiny-copy"
    first, second = log(registry, name), log(registry, name)
    assert (first.version, first.is_new) == (1, True)
    assert (second.version, second.is_new) == (1, False)
    run = client(registry).get_run(second.run_id)
    assert run.info.status == "FINISHED" and run.data.metrics == {"test_delta": 0.25}

    # Whatever the vector is made of counts, and so does what is known of it.
    others = [
        vector(3.0), replace(vector(), layer=2), replace(vector(), fingerprint="e" * 32),
        replace(vector(), direction=-vector().direction),
        replace(vector(), provenance={"seed": 8}),
    ]  # fmt: skip
    made = [log(registry, name, vector=other) for other in others]
    assert [(m.version, m.is_new) for m in made] == [(n, True) for n in range(2, 7)]

    # What is trained again is the candidate again, unless it is served already.
    assert log(registry, name) == (ANY, name, 1, False)
    assert find_aliases(registry, name) == {"candidate": 1}
    promote(registry, name, 1)
    assert log(registry, name).version == 1
    assert find_aliases(registry, name) == {"champion": 1}


def test_versions_from_before_the_digest_are_compared_by_content(registry: Registry) -> None:
    name = "pas-tiny-untagged"
    lost, kept = (log(registry, name, vector=vector(s)) for s in (1.0, 2.0))
    store = client(registry)
    for made in (lost, kept):
        store.delete_model_version_tag(name, str(made.version), "vector_digest")
    source = store.get_model_version_download_uri(name, str(lost.version))
    shutil.rmtree(source.removeprefix("file://"))
    assert log(registry, name, vector=vector(2.0)) == (ANY, name, kept.version, False)
    assert log(registry, name, vector=vector(1.0)) == (ANY, name, 3, True)


def test_a_model_name_may_have_dots(registry: Registry) -> None:
    name = model_name("org/Qwen2.5-7B", "toy")
    made = log(registry, name)
    assert (made.model_name, made.version) == ("pas-org-qwen2.5-7b-toy", 1)
    assert np.array_equal(
        load_vector(registry, resolve(registry, name)).direction, vector().direction
    )


def test_a_crash_never_leaves_no_champion(registry: Registry, home: Path) -> None:
    name = "pas-tiny-crash"
    for strength in (1.0, 2.0):
        log(registry, name, vector=vector(strength))
    promote(registry, name, 1)
    with failing_alias(home, "champion"), pytest.raises(Exception, match="refused"):
        promote(registry, name, 2)
    assert find_aliases(registry, name)["champion"] == 1
    with pytest.raises(UserError, match="no previous"):
        rollback(registry, name)
    promote(registry, name, 2)
    assert find_aliases(registry, name) == {"champion": 2, "previous": 1}
    with failing_alias(home, "previous"), pytest.raises(Exception, match="refused"):
        rollback(registry, name)
    assert find_aliases(registry, name)["champion"] == 1


def test_long_findings_fit_a_tag(registry: Registry) -> None:
    name = "pas-tiny-findings"
    log(registry, name, version_tags={"note": "n" * 9000})
    promote(registry, name, 1, [{"check": f"check {i}", "measured": "w" * 900} for i in range(80)])
    version = resolve(registry, name)
    assert max(len(value) for value in version.tags.values()) <= 5000
    entry = history(registry, name)[0]
    assert len(entry["findings"]) + entry["findings_left_out"] == 80
    assert entry["findings"][0] == {"check": "check 0", "measured": "w" * 80}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pas-tiny-absent", r"no such name. Known: .*pas-tiny-known"),
        ("pas-tiny-known@champoin", r"no alias 'champoin'; it has @candidate \(version 1\)"),
        ("pas-tiny-known:9", r"no version 9; it has 1"),
        ("pas-tiny-known:", r"write NAME, NAME@alias or NAME:version"),
    ],
)
def test_unknown_references_name_what_there_is(
    registry: Registry, reference: str, message: str
) -> None:
    if not any(version.name == "pas-tiny-known" for version in list_versions(registry)):
        log(registry, "pas-tiny-known")
    with pytest.raises(UserError, match=message):
        resolve(registry, reference)


def test_failed_and_interrupted_runs_register_nothing(registry: Registry) -> None:
    store = client(registry)
    with pytest.raises(ValueError, match="could not convert"):
        log(registry, "pas-tiny-failed", metrics={"test_delta": "?"})
    with (
        pytest.raises(KeyboardInterrupt),
        open_run(registry, experiment="tests/registry", run_name="interrupted"),
    ):
        raise KeyboardInterrupt
    experiment = ensure_experiment(registry, "tests/registry")
    status = {run.info.run_name: run.info.status for run in store.search_runs([experiment])}
    assert status["pas-tiny-failed"] == "FAILED"
    assert status["interrupted"] == "KILLED"
    with pytest.raises(UserError, match="no such name"):
        resolve(registry, "pas-tiny-failed")
    models = store.search_logged_models([experiment], "name = 'pas-tiny-failed'")
    assert [str(model.status) for model in models] == ["FAILED"]


def test_a_retry_in_the_same_run_makes_one_version(registry: Registry, home: Path) -> None:
    name = "pas-tiny-retry"
    with open_run(registry, experiment="tests/registry", run_name=name) as run_id:
        with failing_alias(home, "candidate"), pytest.raises(Exception, match="refused"):
            log_training(registry, run_id, training(name))
        assert log_training(registry, run_id, training(name)) == (run_id, name, 1, True)
    assert [v.aliases for v in list_versions(registry) if v.name == name] == [("candidate",)]


def test_nothing_of_the_environment_is_kept(
    registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "zq8-secret-of-the-environment")
    monkeypatch.setenv("LOGNAME", "zq9-user-of-the-environment")
    done = log(registry, "pas-tiny-secrets")
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 20
    for needle in (b"zq8-secret", b"zq9-user"):
        assert [path.name for path in files if needle in path.read_bytes()] == []
    assert set(client(registry).get_run(done.run_id).data.tags) == {
        "mlflow.runName", "mlflow.loggedArtifacts",
    }  # fmt: skip


def test_stores_that_cannot_work_are_refused(registry: Registry) -> None:
    with pytest.raises(UserError, match="artifact root"):
        Registry("postgresql://user:hunter2@db/mlflow")
    gone = ensure_experiment(registry, "gone")
    client(registry).delete_experiment(gone)
    with pytest.raises(UserError, match=f"restore --experiment-id {gone}"):
        ensure_experiment(registry, "gone")


def test_runs_at_once_do_not_disturb_each_other(registry: Registry) -> None:
    name = "pas-tiny-crowd"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda i: log(registry, name, vector=vector(i + 1.0)), range(4)))
    assert sorted(made.version for made in done) == [1, 2, 3, 4]
    assert len({made.run_id for made in done}) == 4
    runs = {version.run_id for version in list_versions(registry) if version.name == name}
    assert runs == {made.run_id for made in done}


@pytest.mark.slow
def test_two_first_runs_at_once_share_a_fresh_home(tmp_path: Path) -> None:
    config = tmp_path / "config"
    code = (
        "import sys; from storage.registry.client import *;"
        "print(ensure_experiment(Registry(sys.argv[1], sys.argv[2]), 'first'))"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/new/mlflow.db", str(tmp_path)]
    environment = {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(config)}
    both = [
        subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True, cwd=tmp_path)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert said == [("1\n", ""), ("1\n", "")]
    assert not config.exists()  # MLflow's telemetry keeps an id there
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"mlflow.db", "mlflow.db.lock"}
