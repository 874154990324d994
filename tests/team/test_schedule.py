"""A schedule makes trainings start, and their links lead to MLflow's pages, on real servers."""

from pathlib import Path
from typing import Any

import httpx
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


def test_a_cron_of_one_minute_trains_once_and_then_sees_nothing_changed(tmp_path: Path) -> None:
    """The finest cron there is: the test waits for the next two minutes to begin."""
    with mlflow_server(tmp_path) as mlflow, team(tmp_path) as installation:
        api = installation.api
        installation.environment["MLFLOW_TRACKING_URI"] = mlflow
        installation.prefect("work-pool", "create", "gpu", "--type", "process")
        file = _every_minute(tmp_path)
        installation.prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
        [deployed] = filtered(api, "deployments")
        installation.start("worker", "worker", "start", "--pool", "gpu", "--limit", "1")

        started = wait_for("a scheduled run", lambda: _begun(api, deployed["id"]))
        trained = finished(api, started[0]["id"])
        assert trained["state"]["name"] == "Retrained"
        assert trained["auto_scheduled"] and trained["created_by"]["type"] == "SCHEDULE"
        assert "Can't evaluate bulk DML" not in (tmp_path / "server.log").read_text()

        links = artifact_links(api, trained)
        assert links.keys() == {f"pas-tiny-toy-{what}" for what in ("summary", "report", "mlflow")}
        for link in links.values():
            check_page(link)

        unchanged = wait_for("a second run", lambda: _unchanged(api, deployed["id"]))
        assert unchanged["state"]["message"] == "nothing changed since version 1"
        assert unchanged["total_run_time"] < trained["total_run_time"]


def _every_minute(folder: Path) -> Path:
    """Write the project's deployments with `retrain` alone, on a recipe for tests, every minute."""
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    [retrain] = [d for d in project["deployments"] if d["name"] == "retrain"]
    [schedule] = retrain["schedules"]
    retrain["parameters"] = {"recipe": toy_recipe(folder)}
    retrain["schedules"] = [schedule | {"cron": "* * * * *", "active": True}]
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(project | {"deployments": [retrain]}))
    return file


def _begun(api: httpx.Client, deployment: str) -> list[dict[str, object]]:
    waiting = ("SCHEDULED", "PENDING")
    return [run for run in runs_of(api, deployment) if run["state"]["type"] not in waiting]


def _unchanged(api: httpx.Client, deployment: str) -> dict[str, Any] | None:
    return next((r for r in runs_of(api, deployment) if r["state"]["name"] == "Unchanged"), None)
