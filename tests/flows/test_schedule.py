"""A schedule makes trainings start, and their links lead to MLflow's pages, on real servers."""

from pathlib import Path

import httpx
import pytest
import yaml

from tests.helpers.data_files import toy_recipe
from tests.helpers.mlflow_pages import check_page
from tests.helpers.places import ROOT
from tests.helpers.servers import (
    artifact_links,
    filtered,
    finished,
    mlflow_server,
    runs_of,
    team,
    wait_for,
)


@pytest.mark.server
@pytest.mark.slow
def test_a_cron_of_one_minute_makes_a_training_start(tmp_path: Path) -> None:
    """The finest cron there is: the test waits for the next minute to begin."""
    with mlflow_server(tmp_path) as mlflow, team(tmp_path) as installation:
        api = installation.api
        installation.environment["MLFLOW_TRACKING_URI"] = mlflow
        installation.prefect("work-pool", "create", "gpu", "--type", "process")
        file = _every_minute(tmp_path)
        installation.prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
        [deployed] = filtered(api, "deployments")
        installation.start("worker", "worker", "start", "--pool", "gpu", "--limit", "1")

        started = wait_for("a scheduled run", lambda: _begun(api, deployed["id"]))
        [schedule] = deployed["schedules"]
        address = f"/deployments/{deployed['id']}/schedules/{schedule['id']}"
        api.patch(address, json={"active": False}).raise_for_status()  # one is enough
        trained = finished(api, started[0]["id"])
        assert trained["auto_scheduled"] and trained["created_by"]["type"] == "SCHEDULE"
        assert "Can't evaluate bulk DML" not in (tmp_path / "server.log").read_text()

        links = artifact_links(api, trained)
        assert links.keys() == {"pas-tiny-toy-report", "pas-tiny-toy-mlflow"}
        for link in links.values():
            check_page(link)


def _every_minute(folder: Path) -> Path:
    """Write the project's deployments with `train` alone, on a recipe for tests, every minute."""
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    [train] = [d for d in project["deployments"] if d["name"] == "train"]
    [schedule] = train["schedules"]
    train["parameters"] = {"recipe": toy_recipe(folder)}
    train["schedules"] = [schedule | {"cron": "* * * * *", "active": True}]
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(project | {"deployments": [train]}))
    return file


def _begun(api: httpx.Client, deployment: str) -> list[dict[str, object]]:
    waiting = ("SCHEDULED", "PENDING")
    return [run for run in runs_of(api, deployment) if run["state"]["type"] not in waiting]
