"""Servers and workers in processes of their own, on loopback, and what to ask them."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.processes import PATIENCE, free_port, is_up, start, stop, wait_for, without_settings
from tests.helpers.places import ROOT

PREFECT = [sys.executable, "-m", "prefect"]
MLFLOW = [sys.executable, "-m", "mlflow"]


def team_environment(folder: Path, port: int) -> dict[str, str]:
    """Return a team's environment; what the tester has set for Prefect or for us is left out."""
    return without_settings() | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DO_NOT_TRACK": "1",
        "PAS_HOME": str(folder / "home"),
        "PAS_CACHE_DIR": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


@contextmanager
def process(
    name: str, command: Sequence[str], environment: dict[str, str], folder: Path
) -> Iterator[None]:
    """Run a command in the clone until the block ends, its children too; log to `name`.log."""
    start(folder, name, command, environment, ROOT)
    try:
        yield
    finally:
        stop(folder, name)


class Team:
    """A Prefect server of its own, and further processes of Prefect beside it.

    Attributes:
        environment: Of all of them; a test may add to it before it starts one.
        api: A client of the server.
    """

    def __init__(self, folder: Path, environment: dict[str, str], api: httpx.Client) -> None:
        self.environment, self.api = environment, api
        self._folder, self._running = folder, ExitStack()

    def start(self, name: str, *arguments: str) -> None:
        """Run a command of Prefect until the test ends; log to `name`.log."""
        command = [*PREFECT, *arguments]
        self._running.enter_context(process(name, command, self.environment, self._folder))

    def prefect(self, *arguments: str) -> None:
        """Run a command of Prefect to its end, which must be well."""
        done = subprocess.run(
            [*PREFECT, *arguments], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def stop(self) -> None:
        self._running.close()


@contextmanager
def team(folder: Path, database: str | None = None) -> Iterator[Team]:
    """Start a server with its files in the folder; logs are shown if the block fails.

    Args:
        folder: Where the home, the caches and the logs are.
        database: URL of the server's database; a file of SQLite in the folder by default, which
            answers "database is locked" where automations and workers write at once.
    """
    port = free_port()
    environment = team_environment(folder, port)
    if database is not None:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    with httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60) as api:
        made = Team(folder, environment, api)
        with logs_shown_on_failure(folder):
            try:
                made.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
                wait_for("the server", lambda: is_up(environment["PREFECT_API_URL"]))
                yield made
            finally:
                made.stop()


@contextmanager
def logs_shown_on_failure(folder: Path) -> Iterator[None]:
    """Write the ends of the folder's logs if the block fails."""
    try:
        yield
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            tail = log.read_text(errors="replace")[-6000:]
            sys.stderr.write(f"\n--- {log.name}, its end:\n{tail}\n")
        raise


def filtered(api: httpx.Client, what: str, **criteria: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        api.post(f"/{what}/filter", json=criteria).raise_for_status().json()
    )
    return rows


def runs_of(api: httpx.Client, deployment: str) -> list[dict[str, Any]]:
    return filtered(api, "flow_runs", deployments={"id": {"any_": [deployment]}})


def finished(api: httpx.Client, run: str) -> dict[str, Any]:
    """Wait for a flow run to end, which must be well; return it."""

    def ended() -> dict[str, Any] | None:
        answer: dict[str, Any] = api.get(f"/flow_runs/{run}").raise_for_status().json()
        terminal = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return answer if answer["state"]["type"] in terminal else None

    last = wait_for(f"the end of flow run {run}", ended)
    assert last is not None and last["state"]["type"] == "COMPLETED", last
    return last


@contextmanager
def mlflow_server(folder: Path, *options: str) -> Iterator[str]:
    """Run MLflow's own server on loopback, its database and artifacts in the folder."""
    port = free_port()
    command = [
        *MLFLOW,
        "server",
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow-server.db'}"),
        *("--artifacts-destination", str(folder / "mlflow-artifacts")),
        *options,
    ]
    address = f"http://127.0.0.1:{port}"
    environment = team_environment(folder, port)
    with process("mlflow", command, environment, folder):
        wait_for("MLflow's server", lambda: is_up(address))
        yield address


def artifact_links(api: httpx.Client, run: dict[str, Any]) -> dict[str, str]:
    """Return key and address of a flow run's links."""
    rows = filtered(api, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    addresses = {row["key"]: re.search(r"\]\((.*)\)", str(row["data"])) for row in rows}
    return {key: match[1] for key, match in addresses.items() if match}
