"""What breaks in the middle of a training: nothing is lost, and the vector is the same."""

import time

import numpy as np
import pytest

from deploy import team
from deploy.processes import stop, wait_for
from storage.lake.files import Lake, open_lake
from storage.registry.client import client
from tests.helpers.fault_proxy import faulty_proxy
from tests.helpers.operators import Operator
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
        proxy.refuse()
        time.sleep(20)
        proxy.refusing = False
        assert operator.ended(run)["type"] == "COMPLETED"
        assert proxy.refused > 0
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
