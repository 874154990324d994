"""The deployments of prefect.yaml on a real server: train by API, promote by event."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.data_files import toy_recipe
from tests.helpers.places import ROOT
from tests.helpers.servers import PATIENCE, filtered, finished, runs_of, team, wait_for

pytestmark = pytest.mark.server


def test_a_training_by_api_has_its_candidate_judged(tmp_path: Path) -> None:
    with team(tmp_path) as installation:
        api = installation.api
        for pool in ("gpu", "cpu"):
            installation.prefect("work-pool", "create", pool, "--type", "process")
            installation.start(f"worker-{pool}", "worker", "start", "--pool", pool)
        installation.prefect("--no-prompt", "deploy", "--all")

        deployed = {found["name"]: found for found in filtered(api, "deployments")}
        assert {name: found["work_pool_name"] for name, found in deployed.items()} == {
            "extract": "gpu", "train": "gpu", "study-cell": "gpu", "share": "gpu",
            "promote": "cpu", "rollback": "cpu",
        }  # fmt: skip
        assert [s["active"] for s in deployed["train"]["schedules"]] == [False]
        assert deployed["promote"]["global_concurrency_limit"]["limit"] == 1

        recipe = toy_recipe(tmp_path)
        address = f"/deployments/{deployed['train']['id']}/create_flow_run"
        misspelt = recipe | {"strenghts": "1"}
        refused = api.post(address, json={"parameters": {"recipe": misspelt}})
        assert refused.status_code == 409 and "strenghts" in refused.text

        asked = api.post(address, json={"parameters": {"recipe": recipe}}).raise_for_status()
        trained = finished(api, asked.json()["id"])
        registered = wait_for("the event", lambda: _events(api, "pas.candidate.registered"))
        [payload] = [event["payload"] for event in registered]

        started = wait_for("the trigger", lambda: runs_of(api, deployed["promote"]["id"]))
        promoted = finished(api, started[0]["id"])
        assert len(runs_of(api, deployed["promote"]["id"])) == 1
        assert promoted["parameters"] == {"name": "pas-tiny-toy", "version": 1}
        assert promoted["parameters"] == {k: payload[k] for k in ("name", "version")}
        assert _artifacts(api, trained) == {
            f"pas-tiny-toy-{what}" for what in ("summary", "result", "checks", "sweep", "report")
        }
        assert _artifacts(api, promoted) == {"pas-tiny-toy-promotion"}
        lines = wait_for("our log lines", lambda: _our_log_lines(api, trained))
        assert lines[0] == "load: 36 train, 13 validation, 11 test items"

        # The same worker runs a study's cells, at most two at a time.
        file = tmp_path / "study.yaml"
        file.write_text(json.dumps(_study(recipe)))
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "study", str(file), "--workers", "2", "--json"],
            cwd=ROOT, env=installation.environment, capture_output=True, text=True,
            timeout=2 * PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        assert [(r["setting"], r["seed"], r["failed"]) for r in results] == [
            ("main", 0, ""), ("main", 1, ""), ("forgetting", 0, ""), ("forgetting", 1, ""),
        ], done.stderr  # fmt: skip
        cells = runs_of(api, deployed["study-cell"]["id"])
        assert [run["state"]["type"] for run in cells] == ["COMPLETED"] * 4


def _study(recipe: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in recipe.items() if k not in ("task", "data", "model")}
    return {
        "name": "by-workers",
        "models": [recipe["model"]],
        "seeds": 2,
        "recipe": kept,
        "tasks": [{"task": "toy", "data": recipe["data"]}],
        "settings": {
            "forgetting": {"targets": [{"task": "other", "data": recipe["data"]}], "strengths": [1]}
        },
    }


def _events(api: httpx.Client, name: str) -> list[dict[str, Any]]:
    criteria = {"filter": {"event": {"name": [name]}}}
    found: list[dict[str, Any]] = (
        api.post("/events/filter", json=criteria).raise_for_status().json()["events"]
    )
    return found


def _artifacts(api: httpx.Client, run: dict[str, Any]) -> set[str]:
    found = filtered(api, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    return {artifact["key"] for artifact in found if artifact["key"]}


def _our_log_lines(api: httpx.Client, run: dict[str, Any]) -> list[str]:
    found = filtered(api, "logs", logs={"flow_run_id": {"any_": [run["id"]]}}, sort="TIMESTAMP_ASC")
    return [line["message"] for line in found if line["name"] == "pas"]
