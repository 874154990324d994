"""A run whose worker was killed gives its place back, under way or before it began."""

import textwrap
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.processes import find
from flows import deployment
from tests.helpers.operators import kill
from tests.helpers.servers import Team, filtered, finished, runs_of, wait_for

FLOW = """
    import time
    from pathlib import Path
    from prefect import flow

    @flow(name="wait")
    def wait(file: str) -> None:
        while not Path(file).exists():
            time.sleep(0.2)
"""


def test_the_next_run_begins_after_a_worker_was_killed(bare: Team, tmp_path: Path) -> None:
    """The heartbeat that Prefect allows is 30 s, so this takes two to three minutes."""
    api = bare.api
    bare.prefect("work-pool", "create", "cpu", "--type", "process")
    bare.prefect("work-pool", "set-concurrency-limit", "cpu", "1")
    waiting = str(_waiting_in_the_place_of_promote(tmp_path))
    bare.prefect("--no-prompt", "deploy", "--all", "--prefect-file", waiting)
    bare.prefect("automation", "create", "--from-file", str(_impatient(tmp_path)))
    [deployed] = filtered(api, "deployments")
    go = tmp_path / "go"

    def ask() -> str:
        address = f"/deployments/{deployed['id']}/create_flow_run"
        asked = api.post(address, json={"parameters": {"file": str(go)}}).raise_for_status()
        return str(asked.json()["id"])

    # One that a worker took and never began: it holds the place as a worker would leave it.
    lost = ask()
    pending = {"state": {"type": "PENDING"}, "force": True}
    api.post(f"/flow_runs/{lost}/set_state", json=pending).raise_for_status()
    wait_for("the lost run's end", lambda: _state(api, lost) == ("CRASHED", "Never began"))

    # One that is under way when its worker and it are killed.
    bare.start("worker-1", "worker", "start", "--pool", "cpu")
    killed = ask()
    wait_for("the run", lambda: _state(api, killed)[0] == "RUNNING")
    wait_for("a heartbeat", lambda: _heartbeats(api, killed))
    worker = find(tmp_path, "worker-1")
    assert worker is not None
    kill(worker)
    after = ask()
    bare.start("worker-2", "worker", "start", "--pool", "cpu")
    assert _state(api, killed)[0] == "RUNNING"
    wait_for("the dead run's end", lambda: _state(api, killed) == ("CRASHED", "Worker died"))
    go.touch()
    finished(api, after)
    assert len(runs_of(api, deployed["id"])) == 3


def _waiting_in_the_place_of_promote(folder: Path) -> Path:
    """Write the deployment `promote` with a flow that waits, everything else as it is shipped."""
    (folder / "waiting.py").write_text(textwrap.dedent(FLOW))
    project = yaml.safe_load(deployment.DEPLOYMENTS.read_text())
    [promote] = [d for d in project["deployments"] if d["name"] == "promote"]
    del promote["triggers"]
    promote["entrypoint"] = f"{folder / 'waiting.py'}:wait"
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(project | {"deployments": [promote], "pull": pull}))
    return file


def _impatient(folder: Path) -> Path:
    """Write the automations as they are shipped, but for 15 s to begin instead of 10 minutes."""
    made = yaml.safe_load(deployment.AUTOMATIONS.read_text())
    [begin] = [a for a in made["automations"] if "never began" in a["name"]]
    begin["trigger"]["within"] = 15
    file = folder / "automations.yaml"
    file.write_text(yaml.safe_dump(made))
    return file


def _state(api: httpx.Client, run: str) -> tuple[str, str]:
    state = api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
    return state["type"], state["name"]


def _heartbeats(api: httpx.Client, run: str) -> list[dict[str, Any]]:
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]},
              "resource": {"id": [f"prefect.flow-run.{run}"]}}  # fmt: skip
    found: list[dict[str, Any]] = (
        api.post("/events/filter", json={"filter": wanted}).raise_for_status().json()["events"]
    )
    return found
