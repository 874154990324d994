"""The files to install it with, as far as they can be checked where no engine runs them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import prefect
import pytest
import yaml
from compose_spec import ComposeSpecification

from deploy import team
from tests.helpers.places import ROOT
from tests.helpers.servers import mlflow_server

FOLDER = ROOT / "deploy"
PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")


def test_the_compose_file_follows_the_specification() -> None:
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    ComposeSpecification.model_validate(document)
    services = document["services"]
    for service in services.values():
        assert {*service.get("depends_on", {})} <= {*services}
        # Nothing that keeps secrets or runs code is open to the network.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    pools = [re.search(r"--pool (\w+)", str(s.get("command"))) for s in services.values()]
    assert {match[1] for match in pools if match} == {*team.POOLS}


@pytest.mark.team
def test_mlflow_answers_to_the_name_that_the_compose_file_gives_it(tmp_path: Path) -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    name = services["worker-cpu"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    [allowed] = re.findall(r"--allowed-hosts (\S+)", services["mlflow"]["command"])
    codes = []
    for options in ((), ("--allowed-hosts", allowed)):
        with mlflow_server(tmp_path, *options) as address:
            asked = f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0"
            codes.append(httpx.get(asked, headers={"Host": name}).status_code)
    assert codes == [403, 200]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    places = {"/opt/pas/.venv/bin": str(Path(sys.executable).parent), "/opt/pas": str(ROOT)}
    for unit in (FOLDER / "systemd").iterdir():
        text = unit.read_text()
        for place, here in places.items():
            text = text.replace(place, here)
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def kubernetes_pool() -> dict[str, Any]:
    pool: dict[str, Any] = json.loads((FOLDER / "kubernetes-pool.json").read_text())
    return pool


def test_the_kubernetes_pool_is_one_of_prefects() -> None:
    views = Path(prefect.__file__).parent / "server/api/collections_data/views"
    known = json.loads((views / "aggregate-worker-metadata.json").read_text())
    own = known["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    pool = kubernetes_pool()
    assert {*pool["job_configuration"]} <= {*own["job_configuration"]}
    used = {*PLACEHOLDER.findall(json.dumps(pool["job_configuration"]))}
    assert used == {*pool["variables"]["properties"]}


def test_a_job_of_the_kubernetes_pool_is_a_job_of_kubernetes() -> None:
    """With the placeholders filled as Prefect's worker does it."""
    pool = kubernetes_pool()
    values = {name: field.get("default") for name, field in pool["variables"]["properties"].items()}
    values |= {
        "name": "a-run",
        "image": "pas:cuda",
        "labels": {"app": "pas"},
        "command": ["prefect", "flow-run", "execute"],
        "env": [{"name": "PAS_LAKE", "value": "s3://pas/lake"}],
    }

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        whole = PLACEHOLDER.fullmatch(node) if isinstance(node, str) else None
        if whole:
            return values[whole[1]]
        replaced = PLACEHOLDER.sub(lambda m: str(values[m[1]]), str(node))
        return replaced if isinstance(node, str) else node

    manifest = filled(pool["job_configuration"]["job_manifest"])
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
