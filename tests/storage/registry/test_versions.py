"""Runs, versions, aliases and promotion in a real MLflow store: SQLite and a local folder."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pyarrow.parquet as pq
import pytest

from pas.errors import UserError
from storage.registry.client import client, ensure_experiment
from storage.registry.promotion import promote
from storage.registry.runs import log_training, open_run
from storage.registry.versions import (
    find_aliases,
    list_versions,
    load_vector,
    model_name,
    resolve,
)
from storage.settings import Registry
from tests.helpers.places import ROOT
from tests.helpers.registries import failing_alias, log, training, vector


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
    assert json.loads((kept / "lineage.json").read_text()) == {"schema": 1, "shards": ["k1", "k2"]}

    version = resolve(registry, name)
    assert (version.version, version.aliases, version.run_id) == (1, ("candidate",), done.run_id)
    assert version.tags == {
        "method": "PASf", "layer": "1", "test_delta": "0.25", "vector_digest": vector().digest,
        "vector_content": vector().content,
    }  # fmt: skip
    assert abs((datetime.now(UTC) - version.created).total_seconds()) < 600
    model = store.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert [(metric.key, metric.value) for metric in model.metrics] == [("test_delta", 0.25)]
    loaded = load_vector(registry, version)
    assert np.array_equal(loaded.direction, vector().direction)
    assert loaded.model == vector().model and loaded.provenance == {"seed": 7}


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
        "mlflow.runName", "mlflow.loggedArtifacts", "pas.process",
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


def test_the_same_vector_at_once_makes_one_version(registry: Registry) -> None:
    name = "pas-tiny-twins"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: log(registry, name), range(4)))
    assert [made.version for made in done] == [1] * 4
    assert sum(made.is_new for made in done) == 1
    assert [v.aliases for v in list_versions(registry) if v.name == name] == [("candidate",)]
    experiment = ensure_experiment(registry, "tests/registry")
    [kept] = client(registry).search_logged_models([experiment], f"name = '{name}'")
    assert kept.source_run_id in {made.run_id for made in done if made.is_new}


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
