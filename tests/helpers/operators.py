"""What an operator of a team's installation does and sees, through the servers' own interfaces."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import psutil
import s3fs

from deploy.processes import find, wait_for
from deploy.team import Team, start_worker
from storage.registry.versions import find_aliases, load_vector, resolve
from storage.settings import Registry
from tests.helpers.servers import filtered, runs_of


def worker_environment(team: Team) -> dict[str, str]:
    """Return what workers of tests have beside what the installation gives them."""
    return {
        "HF_HUB_OFFLINE": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PAS_CACHE_DIR": str(team.folder / "cache"),
        # Small shards, so that there is a middle to kill a training in, and passes of one size.
        "PAS_SHARD_TOKENS": "400",
        "PAS_BATCH_TOKENS": "4096",
    }


def processes_of(team: Team) -> list[list[str]]:
    """Return the commands of all processes that know the installation's folder."""
    place, found = str(team.folder), []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if place in " ".join((*command, *process.environ().values())):
                found.append(command)
    return found


def kill(worker: psutil.Process) -> None:
    """Kill a worker with its runs, as a machine that loses its power does."""
    for process in [*worker.children(recursive=True), worker]:
        process.kill()


TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Operator:
    """Someone at the installation.

    Attributes:
        team: The installation.
        api: A client of its Prefect server.
    """

    team: Team
    api: httpx.Client

    @property
    def registry(self) -> Registry:
        return Registry(self.team.address("mlflow"))

    def deployment(self, name: str) -> dict[str, Any]:
        [found] = filtered(self.api, "deployments", deployments={"name": {"any_": [name]}})
        return found

    def ask(self, name: str, parameters: dict[str, Any], **environment: str) -> str:
        """Start a run of a deployment, with additions to its environment; return its id."""
        body = {"parameters": parameters, "job_variables": {"env": environment}}
        address = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        answer = self.api.post(address, json=body)
        assert answer.is_success, answer.text
        run: str = answer.json()["id"]
        return run

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
        return found

    def ended(self, run: str) -> dict[str, Any]:
        """Wait until a run has ended, well or not; return its state."""
        return wait_for(
            f"the end of run {run}",
            lambda: state if (state := self.state(run))["type"] in TERMINAL else None,
        )

    def begun(self, deployment: str, but: Mapping[str, Any] | None = None) -> str:
        """Wait for a run of a deployment that nobody here asked for; return its id."""
        address = self.deployment(deployment)["id"]

        def look() -> str | None:
            runs = [r for r in runs_of(self.api, address) if r["id"] not in (but or {})]
            started = [r for r in runs if r["state"]["type"] not in ("SCHEDULED", "PENDING")]
            return started[0]["id"] if started else None

        return wait_for(f"a run of {deployment}", look)  # type: ignore[return-value]

    def known(self, deployment: str) -> dict[str, Any]:
        """Return the runs of a deployment by id."""
        return {r["id"]: r for r in runs_of(self.api, self.deployment(deployment)["id"])}

    def kill_worker(self, pool: str) -> None:
        """Kill the worker of a pool with its runs."""
        worker = find(self.team.folder, f"worker-{pool}")
        assert worker is not None
        kill(worker)

    def start_worker(self, pool: str, **environment: str) -> None:
        start_worker(self.team, pool, worker_environment(self.team) | environment)

    def retry(self, run: str) -> None:
        """Ask for a run again, as the button of the interface does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        body = {"state": state, "force": True}
        self.api.post(f"/flow_runs/{run}/set_state", json=body).raise_for_status()

    @property
    def store(self) -> s3fs.S3FileSystem:
        """The installation's object store."""
        return s3fs.S3FileSystem(**self.team.s3_login, use_listings_cache=False)

    def aliases(self, name: str) -> dict[str, int]:
        return find_aliases(self.registry, name)

    def direction(self, name: str, version: int = 1) -> np.ndarray:
        """Return the direction of a registered vector, `[d_model]`."""
        return load_vector(self.registry, resolve(self.registry, f"{name}:{version}")).direction
