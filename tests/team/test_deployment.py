"""The deployments on a real server: train by API, promote by event, notify, go on downstream."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from tests.helpers.data_files import toy_recipe
from tests.helpers.places import ROOT
from tests.helpers.servers import PATIENCE, Team, filtered, finished, runs_of, wait_for

ON_GPU = ("extract", "train", "retrain", "watch", "study", "study-cell", "share")
ON_CPU = ("promote", "rollback", "reconcile", "maintenance")


def test_a_training_by_api_is_judged_told_and_used_downstream(bare: Team, tmp_path: Path) -> None:
    with _webhook() as (address, notices):
        api, database = bare.api, tmp_path / "home" / "mlflow.db"
        bare.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
        _pas(bare, "deploy", "--notify", address)
        for pool in ("gpu", "cpu"):
            bare.start(f"worker-{pool}", "worker", "start", "--pool", pool)
        bare.prefect("--no-prompt", "deploy", "--all", "--prefect-file", "examples/prefect.yaml")
        deployed = {found["name"]: found for found in filtered(api, "deployments")}
        downstream = deployed.pop("downstream")
        assert {name: found["work_pool_name"] for name, found in deployed.items()} == {
            **dict.fromkeys(ON_GPU, "gpu"), **dict.fromkeys(ON_CPU, "cpu")
        }  # fmt: skip
        active = {s["active"] for n in ("retrain", "watch") for s in deployed[n]["schedules"]}
        assert active == {False} and deployed["reconcile"]["schedules"][0]["active"]
        assert deployed["promote"]["global_concurrency_limit"]["limit"] == 1
        assert all(
            found["description"] and found["tags"][0] == "pas" for found in deployed.values()
        )

        recipe = toy_recipe(tmp_path)
        train = f"/deployments/{deployed['train']['id']}/create_flow_run"
        misspelt = recipe | {"strenghts": "1"}
        refused = api.post(train, json={"parameters": {"recipe": misspelt}})
        assert refused.status_code == 409 and "strenghts" in refused.text

        asked = api.post(train, json={"parameters": {"recipe": recipe}}).raise_for_status()
        trained = finished(api, asked.json()["id"])
        assert trained["name"] == "train toy on tiny, seed 0, version 1"
        wait_for("the event", lambda: _events(api, "pas.candidate.registered"))
        started = wait_for("the trigger", lambda: runs_of(api, deployed["promote"]["id"]))
        judged = finished(api, started[0]["id"])
        parameters = {"name": "pas-tiny-toy", "version": 1, "automatic": True}
        assert judged["parameters"] == parameters
        assert (judged["name"], judged["state"]["name"]) == (
            "promote pas-tiny-toy, version 1", "Refused",
        )  # fmt: skip
        assert _artifacts(api, trained) == {
            f"pas-tiny-toy-{what}" for what in ("summary", "result", "checks", "sweep", "report")
        }
        assert _artifacts(api, judged) == {"pas-tiny-toy-promotion"}
        lines = wait_for("our log lines", lambda: _our_log_lines(api, trained))
        assert lines[0] == "load: 36 train, 13 validation, 11 test items"

        # A mistake is one line of the log, without a traceback, and an event.
        absent = recipe | {"data": str(tmp_path / "absent.csv")}
        mistaken = api.post(train, json={"parameters": {"recipe": absent}}).raise_for_status()
        failed = _ended(api, mistaken.json()["id"])
        assert failed["state"]["type"] == "FAILED"
        told = wait_for("the log", lambda: [m for m in _log(api, failed) if "absent.csv" in m])
        assert not any("Traceback" in message for message in _log(api, failed)), told
        wait_for("the failure's event", lambda: _events(api, "pas.training.failed"))

        # A promotion starts the flow downstream, which needs MLflow alone.
        [refusal] = _events(api, "pas.candidate.refused")
        accepted = [c for c in refusal["payload"]["checks"] if c != "champion"]
        table = tmp_path / "prompts.csv"
        pd.DataFrame({"prompt": ["heron", "otter"]}).to_csv(table, index=False)
        api.patch(
            f"/deployments/{downstream['id']}", json={"parameters": {"table": str(table)}}
        ).raise_for_status()
        promote = f"/deployments/{deployed['promote']['id']}/create_flow_run"
        wanted = {"name": "pas-tiny-toy", "version": 1, "accept": accepted, "reason": "a test"}
        by_hand = api.post(promote, json={"parameters": wanted}).raise_for_status()
        assert finished(api, by_hand.json()["id"])["state"]["name"] == "Promoted"
        begun = wait_for("the flow downstream", lambda: runs_of(api, downstream["id"]))
        finished(api, begun[0]["id"])
        assert pd.read_csv(tmp_path / "prompts-answered.csv")["reply"].notna().all()

        names = ["pas.candidate.registered", "pas.candidate.refused", "pas.training.failed",
                 "pas.champion.promoted"]  # fmt: skip
        wait_for("the notices", lambda: {n["event"] for n in notices} >= {*names})
        by_name = {notice["event"]: notice for notice in notices}
        assert by_name["pas.champion.promoted"]["payload"] == {
            "name": "pas-tiny-toy", "version": 1, "replaced": None, "accepted": accepted,
        }  # fmt: skip
        assert "pas-tiny-toy" in by_name["pas.candidate.refused"]["text"]

        # Deployed again, what was set on the server stays; `prefect deploy` would reset it.
        bare.prefect("automation", "pause", "promote a registered candidate")
        api.patch(
            f"/deployments/{deployed['retrain']['id']}", json={"parameters": {"recipe": recipe}}
        ).raise_for_status()
        [schedule] = deployed["retrain"]["schedules"]
        api.patch(
            f"/deployments/{deployed['retrain']['id']}/schedules/{schedule['id']}",
            json={"active": True},
        ).raise_for_status()
        _pas(bare, "deploy")
        assert not _automations(api)["promote a registered candidate"]["enabled"]
        retrain = api.get(f"/deployments/{deployed['retrain']['id']}").json()
        assert retrain["parameters"] == {"recipe": recipe} and retrain["schedules"][0]["active"]
        assert retrain["schedules"][0]["slug"] == "weekly"
        assert len(_automations(api)) == len(filtered(api, "automations")) == 6
        _pas(bare, "deploy", "--reset")
        assert _automations(api)["promote a registered candidate"]["enabled"]
        retrain = api.get(f"/deployments/{deployed['retrain']['id']}").json()
        assert retrain["parameters"]["recipe"]["task"] == "demo"
        assert not retrain["schedules"][0]["active"]


def test_a_studys_cells_run_on_a_worker(bare: Team, tmp_path: Path) -> None:
    """At most two at a time."""
    api, recipe = bare.api, toy_recipe(tmp_path)
    _pas(bare, "deploy")
    bare.start("worker-gpu", "worker", "start", "--pool", "gpu")
    deployed = {found["name"]: found for found in filtered(api, "deployments")}
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(_study(recipe)))
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "study", str(file), "--workers", "2", "--json"],
        cwd=ROOT, env=bare.environment, capture_output=True, text=True,
        timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [(r["setting"], r["seed"], r["failed"]) for r in results] == [
        ("main", 0, ""), ("main", 1, ""), ("forgetting", 0, ""), ("forgetting", 1, ""),
    ], done.stderr  # fmt: skip
    cells = runs_of(api, deployed["study-cell"]["id"])
    assert [run["state"]["type"] for run in cells] == ["COMPLETED"] * 4


def _pas(bare: Team, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=ROOT, env=bare.environment,
        capture_output=True, text=True, timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextmanager
def _webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve an address that keeps the JSON documents that are posted to it."""
    notices: list[dict[str, Any]] = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notices.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Keep) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", notices
        server.shutdown()


def _ended(api: httpx.Client, run: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(f"/flow_runs/{run}").raise_for_status().json()
        return found if found["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED") else None

    found = wait_for(f"the end of {run}", look)
    assert found is not None
    return found


def _automations(api: httpx.Client) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in filtered(api, "automations")}


def _log(api: httpx.Client, run: dict[str, Any]) -> list[str]:
    found = filtered(api, "logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    return [line["message"] for line in found]


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
