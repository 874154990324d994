"""What breaks in the middle of a training: nothing is lost, and the vector is the same."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from deploy import team
from deploy.processes import PATIENCE, stop, wait_for, without_settings
from storage.lake.files import Lake, open_lake
from storage.registry.client import client
from tests.helpers.fault_proxy import faulty_proxy
from tests.helpers.operators import Operator, worker_environment
from tests.helpers.places import ROOT
from tests.helpers.servers import filtered
from tests.helpers.steerable import meals_recipe


def name_of(task: str) -> str:
    return f"pas-steerable-{task}"


def start_training(operator: Operator, task: str, **environment: str) -> tuple[str, Lake]:
    """Start a training that shares nothing with others; return its run and its lake."""
    lake = f"s3://{team.BUCKET}/lake-of-{task}"
    recipe = meals_recipe(operator.team.folder, task)
    return operator.ask("train", {"recipe": recipe}, PAS_LAKE=lake, **environment), open_lake(lake)


def wait_until_in_the_middle(lake: Lake) -> None:
    wait_for("some shards", lambda: len(lake.list("activations")) >= 2, every=0.05)


def is_registering(operator: Operator, run: str) -> bool:
    tasks = filtered(operator.api, "task_runs", flow_runs={"id": {"any_": [run]}})
    return any(task["name"].startswith("record") for task in tasks)


@pytest.fixture(scope="module")
def undisturbed(operator: Operator) -> np.ndarray:
    """The direction that a training gives which nothing disturbs."""
    run, _ = start_training(operator, "undisturbed")
    assert operator.ended(run)["type"] == "COMPLETED"
    return operator.direction(name_of("undisturbed"))


def check_one_version(operator: Operator, task: str, undisturbed: np.ndarray) -> None:
    """One version, one run of MLflow's, which is finished, and the same vector."""
    store = client(operator.registry)
    [version] = store.search_model_versions(f"name = '{name_of(task)}'")
    experiment = store.get_run(version.run_id).info.experiment_id
    runs = store.search_runs([experiment], f"params.task = '{task}'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    direction = operator.direction(name_of(task), int(version.version))
    np.testing.assert_allclose(direction, undisturbed, rtol=1e-5, atol=1e-8)


def test_the_object_store_away_for_20_seconds(operator: Operator, undisturbed: np.ndarray) -> None:
    with faulty_proxy(operator.team.ports["s3"]) as proxy:
        run, lake = start_training(operator, "s3-away", AWS_ENDPOINT_URL=proxy.address)
        wait_until_in_the_middle(lake)
        proxy.leave()
        time.sleep(20)
        assert operator.state(run)["type"] == "RUNNING"
        proxy.come_back()
        assert operator.ended(run)["type"] == "COMPLETED"
    check_one_version(operator, "s3-away", undisturbed)


def test_mlflow_away_for_30_seconds_during_registration(
    operator: Operator, undisturbed: np.ndarray
) -> None:
    run, lake = start_training(operator, "mlflow-away")
    wait_until_in_the_middle(lake)
    stop(operator.team.folder, "mlflow")
    wait_for("the registration", lambda: is_registering(operator, run))
    time.sleep(30)
    assert operator.state(run)["type"] == "RUNNING"
    team.start_server(operator.team, team.mlflow_server(operator.team))
    assert operator.ended(run)["type"] == "COMPLETED"
    check_one_version(operator, "mlflow-away", undisturbed)


def test_prefects_server_restarted_in_the_middle(
    operator: Operator, undisturbed: np.ndarray
) -> None:
    run, lake = start_training(operator, "prefect-away")
    wait_until_in_the_middle(lake)
    stop(operator.team.folder, "prefect")
    team.start_server(operator.team, team.prefect_server(operator.team))
    wait_for("Prefect", lambda: team.is_up(operator.team.environment["PREFECT_API_URL"]))
    assert operator.ended(run)["type"] == "COMPLETED"
    check_one_version(operator, "prefect-away", undisturbed)


def test_a_worker_killed_in_the_middle(operator: Operator, undisturbed: np.ndarray) -> None:
    run, lake = start_training(operator, "worker-killed")
    wait_until_in_the_middle(lake)
    operator.kill_worker("gpu")
    done = lake.list("activations")
    operator.start_worker("gpu")
    state = operator.ended(run)
    assert (state["type"], state["name"]) == ("CRASHED", "Worker died")
    operator.retry(run)
    wait_for("the second try", lambda: operator.state(run)["type"] == "RUNNING")
    assert operator.ended(run)["type"] == "COMPLETED"
    assert {*done} <= {*lake.list("activations")}
    check_one_version(operator, "worker-killed", undisturbed)


def test_a_worker_killed_while_it_promotes(operator: Operator) -> None:
    """The pool has one place: the dead run must give it back."""
    known = operator.known("promote")
    run, _ = start_training(operator, "promotion-killed")
    assert operator.ended(run)["type"] == "COMPLETED"
    promotion = operator.begun("promote", but=known)
    operator.kill_worker("cpu")
    assert operator.aliases(name_of("promotion-killed")) == {"candidate": 1}
    operator.start_worker("cpu")
    again = operator.ask("reconcile", {})
    assert operator.ended(promotion)["type"] == "CRASHED"
    assert operator.ended(again)["type"] == "COMPLETED"
    assert operator.aliases(name_of("promotion-killed")) == {"champion": 1}


def test_two_people_train_the_same_at_once(operator: Operator, undisturbed: np.ndarray) -> None:
    """In two shells: they share what each computes, and the registry has the vector once."""
    recipe = meals_recipe(operator.team.folder, "together")
    command = [
        sys.executable, "-m", "flows.cli", "train", "--json", "--task", "together",
        "--data", recipe["data"], "--model", recipe["model"], "--group-col", "scene",
        "--id-col", "id", "--scoring", "choice", "--methods", "caa",
        "--layers", recipe["layers"], "--strengths", recipe["strengths"],
    ]  # fmt: skip
    own = {"PAS_LAKE": f"s3://{team.BUCKET}/lake-of-together"}
    environment = without_settings() | operator.team.environment
    environment |= worker_environment(operator.team) | own
    shells = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    outcomes = []
    for shell in shells:
        out, errors = shell.communicate(timeout=PATIENCE)
        assert shell.returncode == 0, errors
        outcomes.append(json.loads(out))
    assert {outcome["version"] for outcome in outcomes} == {1}
    np.testing.assert_allclose(
        operator.direction(name_of("together")), undisturbed, rtol=1e-5, atol=1e-8
    )
