"""The deployments of prefect.yaml on a real server: train by API, promote by event."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from tests.helpers.places import ROOT
from tests.helpers.tiny_models import save_tiny, toy_questions

pytestmark = pytest.mark.server

PREFECT = [sys.executable, "-m", "prefect"]
# A cold machine with two busy cores; a warm one needs a tenth of it.
PATIENCE = 300
Found = TypeVar("Found")


def test_a_training_by_api_has_its_candidate_judged(tmp_path: Path) -> None:
    port = _free_port()
    environment = _environment(tmp_path, port)
    with (
        ExitStack() as running,
        httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60) as api,
    ):
        running.enter_context(_logs_shown_on_failure(tmp_path))

        def start(name: str, *arguments: str) -> None:
            running.enter_context(_process(name, arguments, environment, tmp_path))

        start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        _wait_for("the server", lambda: _is_up(api))
        for pool in ("gpu", "cpu"):
            _run(["work-pool", "create", pool, "--type", "process"], environment)
            start(f"worker-{pool}", "worker", "start", "--pool", pool)
        _run(["--no-prompt", "deploy", "--all"], environment)

        deployed = {found["name"]: found for found in _filter(api, "deployments")}
        assert {name: found["work_pool_name"] for name, found in deployed.items()} == {
            "extract": "gpu", "train": "gpu", "study-cell": "gpu", "promote": "cpu",
            "rollback": "cpu",
        }  # fmt: skip
        assert [s["active"] for s in deployed["train"]["schedules"]] == [False]
        assert deployed["promote"]["global_concurrency_limit"]["limit"] == 1

        recipe = _recipe(tmp_path)
        address = f"/deployments/{deployed['train']['id']}/create_flow_run"
        misspelt = recipe | {"strenghts": "1"}
        refused = api.post(address, json={"parameters": {"recipe": misspelt}})
        assert refused.status_code == 409 and "strenghts" in refused.text

        asked = api.post(address, json={"parameters": {"recipe": recipe}}).raise_for_status()
        trained = _finished(api, asked.json()["id"])
        registered = _wait_for("the event", lambda: _events(api, "pas.candidate.registered"))
        [payload] = [event["payload"] for event in registered]

        started = _wait_for("the trigger", lambda: _runs_of(api, deployed["promote"]["id"]))
        promoted = _finished(api, started[0]["id"])
        assert len(_runs_of(api, deployed["promote"]["id"])) == 1
        assert promoted["parameters"] == {"name": "pas-tiny-toy", "version": 1}
        assert promoted["parameters"] == {k: payload[k] for k in ("name", "version")}
        assert _artifacts(api, trained) == {
            f"pas-tiny-toy-{what}" for what in ("result", "checks", "sweep", "report")
        }
        assert _artifacts(api, promoted) == {"pas-tiny-toy-promotion"}
        lines = _wait_for("our log lines", lambda: _our_log_lines(api, trained))
        assert lines[0] == "load: 36 train, 13 validation, 11 test items"

        # The same worker runs a study's cells, at most two at a time.
        file = tmp_path / "study.yaml"
        file.write_text(json.dumps(_study(recipe)))
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "study", str(file), "--workers", "2", "--json"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        assert [(r["setting"], r["seed"], r["failed"]) for r in results] == [
            ("main", 0, ""), ("main", 1, ""), ("forgetting", 0, ""), ("forgetting", 1, ""),
        ], done.stderr  # fmt: skip
        cells = _runs_of(api, deployed["study-cell"]["id"])
        assert [run["state"]["type"] for run in cells] == ["COMPLETED"] * 4


def _environment(folder: Path, port: int) -> dict[str, str]:
    """Return a team's environment; what the tester has set for Prefect or for us is left out."""
    own = ("PREFECT_", "PAS_", "MLFLOW_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    return environment | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DO_NOT_TRACK": "1",
        "PAS_HOME": str(folder / "home"),
        "PAS_CACHE_DIR": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


def _recipe(folder: Path) -> dict[str, Any]:
    data = folder / "toy.jsonl"
    rows = [{k: q[k] for k in ("question", "choices", "label")} for q in toy_questions(60)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "task": "toy",
        "data": str(data),
        "model": str(save_tiny("llama", folder / "tiny")),
        "scoring": "letter",
        "methods": ["pasf", "caa"],
        "layers": "1,2",
        "strengths": "1,4",
    }


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(
    name: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path
) -> Iterator[None]:
    """Run a Prefect command in the clone until the block ends, its children too."""
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            [*PREFECT, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        # A worker's flow runs lead groups of their own, so the family is noted before it parts.
        family = [
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ]
        os.killpg(process.pid, signal.SIGTERM)
        for survivor in psutil.wait_procs(family, timeout=20)[1]:
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        process.wait()


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*PREFECT, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


@contextmanager
def _logs_shown_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            tail = log.read_text(errors="replace")[-6000:]
            sys.stderr.write(f"\n--- {log.name}, its end:\n{tail}\n")
        raise


def _wait_for(what: str, look: Callable[[], Found]) -> Found:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.5)
    pytest.fail(f"{what} did not come within {PATIENCE} s")


def _is_up(api: httpx.Client) -> bool:
    try:
        return api.get("/health").is_success
    except httpx.TransportError:
        return False


def _filter(api: httpx.Client, what: str, **criteria: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        api.post(f"/{what}/filter", json=criteria).raise_for_status().json()
    )
    return rows


def _runs_of(api: httpx.Client, deployment: str) -> list[dict[str, Any]]:
    return _filter(api, "flow_runs", deployments={"id": {"any_": [deployment]}})


def _finished(api: httpx.Client, run: str) -> dict[str, Any]:
    """Wait for a flow run to end, which must be well; return it."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(f"/flow_runs/{run}").raise_for_status().json()
        ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return found if found["state"]["type"] in ended else None

    found = _wait_for(f"the end of flow run {run}", look)
    assert found is not None and found["state"]["type"] == "COMPLETED", found
    return found


def _events(api: httpx.Client, name: str) -> list[dict[str, Any]]:
    criteria = {"filter": {"event": {"name": [name]}}}
    found: list[dict[str, Any]] = (
        api.post("/events/filter", json=criteria).raise_for_status().json()["events"]
    )
    return found


def _artifacts(api: httpx.Client, run: dict[str, Any]) -> set[str]:
    found = _filter(api, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    return {artifact["key"] for artifact in found if artifact["key"]}


def _our_log_lines(api: httpx.Client, run: dict[str, Any]) -> list[str]:
    found = _filter(api, "logs", logs={"flow_run_id": {"any_": [run["id"]]}}, sort="TIMESTAMP_ASC")
    return [line["message"] for line in found if line["name"] == "pas"]
