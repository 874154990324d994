"""`pas doctor` and the first look of every command, on real servers that are not well."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.processes import free_port, is_up, wait_for
from flows.cli.health import within
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import bound_by_rights
from tests.helpers.servers import PREFECT, mlflow_server, process, team_environment

PASSWORD = "admin:right"


def pas(environment: dict[str, str], *arguments: str, **more: Any) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=60, **more,
    )  # fmt: skip


def problems(environment: dict[str, str], **more: Any) -> dict[str, str]:
    """Run `pas doctor`; return what it found wrong."""
    done = pas(environment, "doctor", "--json", **more)
    wrong = {check["name"]: check["found"] for check in json.loads(done.stdout) if not check["ok"]}
    assert done.returncode == bool(wrong), done.stderr
    return wrong


def test_a_check_without_an_answer_does_not_hold_up_the_others() -> None:
    began = time.monotonic()
    hung, well, wrong = within(
        0.5,
        {"hung": lambda: time.sleep(60) or "", "well": lambda: "5", "wrong": lambda: f"{1 / 0}"},
    )
    assert time.monotonic() - began < 5
    assert (well.ok, well.found) == (True, "5")
    assert not hung.ok and "0.5 s" in hung.found
    assert not wrong.ok and "ZeroDivisionError" in wrong.found


@pytest.mark.skipif(sys.platform != "linux", reason="rights of a process are Linux's")
def test_a_home_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    found = problems(team_environment(tmp_path, 9), preexec_fn=bound_by_rights)
    assert "cannot be written (Permission denied); change its owner or rights" in found["home"]


def test_a_home_that_is_a_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    environment = {
        k: v for k, v in team_environment(tmp_path, 9).items() if k[:11] != "PREFECT_API"
    }
    assert "is no folder" in problems(environment)["home"]


@pytest.mark.faults
def test_servers_that_are_down_end_a_command_in_one_line(tmp_path: Path, tiny_folder: Path) -> None:
    data = write_toy(tmp_path / "toy.jsonl")
    train = ["train", "--task", "toy", "--data", str(data), "--model", str(tiny_folder)]
    down = f"http://127.0.0.1:{free_port()}"
    embedded = {k: v for k, v in team_environment(tmp_path, 9).items() if k != "PREFECT_API_URL"}
    keys = {"AWS_ENDPOINT_URL": down, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for settings, commands in (
        ({"PREFECT_API_URL": f"{down}/api"}, [train, ["promote", "pas-x-y"]]),
        ({"MLFLOW_TRACKING_URI": down}, [train, ["promote", "pas-x-y"], ["vectors"]]),
        ({"PAS_LAKE": "s3://bucket/lake"} | keys, [train]),
    ):
        for command in commands:
            began = time.monotonic()
            done = pas(embedded | settings, *command)
            assert time.monotonic() - began < 20
            [line] = done.stderr.splitlines()
            assert line.startswith(f"error: {next(iter(settings))} ") and done.returncode == 2, line
    assert not (tmp_path / "home").exists()


@pytest.mark.team
def test_a_team_s_installation_that_is_not_well(tmp_path: Path) -> None:
    port = free_port()
    environment = team_environment(tmp_path, port)
    command = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    locked = environment | {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD}
    with (
        mlflow_server(tmp_path) as mlflow,
        process("server", [*command, "--no-services"], locked, tmp_path),
        httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60) as api,
    ):
        wait_for("the server", lambda: is_up(environment["PREFECT_API_URL"]))
        environment |= {"MLFLOW_TRACKING_URI": mlflow, "PREFECT_API_AUTH_STRING": "admin:wrong"}
        wrong = problems(environment)
        assert wrong.keys() == {"Prefect", "workers", "schedules", "runs of killed processes"}
        assert "PREFECT_API_AUTH_STRING" in wrong["Prefect"]

        environment["PREFECT_API_AUTH_STRING"] = PASSWORD
        assert problems(environment) == {}
        api.auth = tuple(PASSWORD.split(":"))
        _deploy(api)
        wrong = problems(environment)
        assert wrong.keys() == {"workers", "schedules"}
        assert "pool gpu: no worker is online" in wrong["workers"]
        assert "train/weekly: no run is planned" in wrong["schedules"]
        shown = json.loads(pas(environment, "status", "--json").stdout)
        assert [pool["name"] for pool in shown["pools"]] == ["gpu"]
        [schedule] = shown["schedules"]
        assert schedule == {"deployment": "train/weekly", "schedule": "0 3 * * 1 UTC",
                            "active": True, "next_run": None}  # fmt: skip

        began = time.monotonic()
        environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
        assert "MLFLOW_TRACKING_URI" in problems(environment)["MLflow store"]
        assert time.monotonic() - began < 20


def _deploy(api: httpx.Client) -> None:
    """Make a pool, and a deployment with a schedule, by the server's API."""

    def made(path: str, body: dict[str, Any]) -> str:
        answer: dict[str, Any] = api.post(path, json=body).raise_for_status().json()
        return str(answer["id"])

    made("/work_pools/", {"name": "gpu", "type": "process", "base_job_template": {}})
    flow = made("/flows/", {"name": "train"})
    weekly = {"schedule": {"cron": "0 3 * * 1", "timezone": "UTC"}, "active": True}
    deployment = {"name": "weekly", "flow_id": flow, "work_pool_name": "gpu"}
    made("/deployments/", deployment | {"schedules": [weekly]})
