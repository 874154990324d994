"""`pas status` and `pas metrics` on an embedded home: what is known without any server."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pytest

from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector
from storage.registry.promotion import promote
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.settings import Registry
from tests.helpers.places import ROOT
from tests.helpers.servers import team_environment

NAME = "pas-model-demo"
TAGS = {"Verdict": "real", "baseline_accuracy": "0.5000", "steered_accuracy": "0.7500"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a home with a champion, and a candidate that was never judged."""
    folder = tmp_path_factory.mktemp("status")
    home = folder / "home"
    home.mkdir()
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    data = TrainingData("demo", "here", "d" * 32, pa.table({"id": ["a"]}))
    for strength in (1.0, 2.0):
        vector = SteeringVector(
            direction=np.ones(8, np.float32), layer=12, site="residual", strength=strength,
            method="caa", model=ModelSpec("some/model"), fingerprint="f" * 32, task="demo",
        )  # fmt: skip
        with open_run(registry, experiment="pas", run_name="x") as run_id:
            log_training(registry, run_id, TrainingRecord(vector, data, "x", NAME, TAGS))
    promote(registry, NAME, 1)
    without = ("PREFECT_API_URL", "PREFECT_HOME")
    return {k: v for k, v in team_environment(folder, 9).items() if k not in without}


def ran(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_status_tells_champion_and_candidate_and_starts_nothing(environment) -> None:
    found = json.loads(ran(environment, "status", "--json"))
    [vector] = found["vectors"]
    assert (vector["name"], vector["versions"], vector["unjudged"]) == (NAME, 2, [2])
    champion = vector["champion"]
    assert (champion["version"], champion["verdict"], champion["steered_accuracy"]) == (
        1, "real", 0.75,
    )  # fmt: skip
    assert vector["candidate"]["version"] == 2 and "promoted" in vector["last_decision"]
    assert (found["server"], found["pools"], found["problems"]) == (None, [], [])
    assert not (Path(environment["PAS_HOME"]) / "prefect").exists()
    shown = ran(environment, "status")
    assert NAME in shown and "never judged" in shown


def test_a_new_home_has_nothing_and_stays_as_it_is(environment, tmp_path: Path) -> None:
    fresh = environment | {"PAS_HOME": str(tmp_path / "new")}
    assert json.loads(ran(fresh, "status", "--json"))["vectors"] == []
    assert not (tmp_path / "new").exists()


def test_a_server_that_is_down_is_a_problem_and_the_rest_is_shown(environment) -> None:
    asked = environment | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    found = json.loads(ran(asked, "status", "--json"))
    [problem] = found["problems"]
    assert "PREFECT_API_URL http://127.0.0.1:9/api: no answer" in problem
    assert len(found["vectors"]) == 1


def test_the_page_is_whole_and_works_offline(environment, tmp_path: Path) -> None:
    file = tmp_path / "status.html"
    ran(environment, "status", "--html", str(file))
    page = file.read_text()
    assert NAME in page and "never judged: 2" in page and "prefers-color-scheme: dark" in page
    assert not any(outside in page for outside in ("http://", "https://", "<script", "<link"))


def test_metrics_are_served_afresh_each_time(environment) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "metrics", "--port", "0"], cwd=ROOT, env=environment,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = server.stderr.readline().split("metrics: ")[1].split(";")[0]
    try:
        with urlopen(address) as answer:  # noqa: S310
            text = answer.read().decode()
    finally:
        server.terminate()
        server.communicate(timeout=10)
    assert f'pas_versions_unjudged{{vector="{NAME}"}} 1.0' in text
    assert server.returncode == 143


@pytest.mark.parametrize("command", [["status", "--json"], ["metrics"]])
def test_it_loads_no_model_library_and_no_orchestrator(environment, command) -> None:
    code = (
        "import sys; sys.argv = ['pas', *sys.argv[1:]]\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'prefect', 'datasets', 'matplotlib'}\n"
        "sys.stderr.write(str(heavy & sys.modules.keys() or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=ROOT, env=environment, capture_output=True
    )
    assert done.stderr.decode().strip() == ""
