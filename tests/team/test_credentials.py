"""Keys of the object store come from a Prefect secret, and are kept nowhere else."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from deploy import team
from deploy.processes import stop, without_settings
from storage.registry.client import client
from tests.helpers.operators import Operator
from tests.helpers.servers import filtered
from tests.helpers.steerable import meals_recipe

SAVE = "from prefect.blocks.system import Secret; Secret(value={!r}).save('s3-secret-key')"
REFERENCE = {"AWS_SECRET_ACCESS_KEY": "{{ prefect.blocks.secret.s3-secret-key }}"}


@pytest.fixture
def pool_with_secret(operator: Operator) -> Iterator[None]:
    """The pool hands the key to each run; its worker does not have it."""
    installation = operator.team
    subprocess.run(
        [sys.executable, "-c", SAVE.format(installation.keys["s3"])], check=True,
        env=without_settings() | installation.environment, capture_output=True,
    )  # fmt: skip
    pool = operator.api.get("/work_pools/gpu").raise_for_status().json()
    template = copy.deepcopy(pool["base_job_template"])
    template["variables"]["properties"]["env"]["default"] = REFERENCE
    _update(operator, template)
    stop(installation.folder, "worker-gpu")
    operator.start_worker("gpu", AWS_SECRET_ACCESS_KEY="")
    yield
    _update(operator, pool["base_job_template"])
    stop(installation.folder, "worker-gpu")
    operator.start_worker("gpu")


def _update(operator: Operator, template: dict[str, Any]) -> None:
    body = {"base_job_template": template}
    operator.api.patch("/work_pools/gpu", json=body).raise_for_status()


def test_the_key_comes_from_a_secret_and_shows_nowhere(
    operator: Operator, pool_with_secret: None
) -> None:
    key, task = operator.team.keys["s3"], "secret"
    data = "s3://pas/meals.jsonl"
    recipe = meals_recipe(operator.team.folder, task)
    operator.store.put(recipe["data"], data)
    run = operator.ask("train", {"recipe": recipe | {"data": data}}, PAS_LAKE="s3://pas/lake-s")
    assert operator.ended(run)["type"] == "COMPLETED"

    store = client(operator.registry)
    [version] = store.search_model_versions(f"name = 'pas-steerable-{task}'")
    trained = store.get_run(version.run_id)
    assert data in str(trained.to_dictionary())
    seen = [
        trained.to_dictionary(),
        dict(version),
        operator.api.get(f"/flow_runs/{run}").json(),
        operator.deployment("train"),
        operator.api.get("/work_pools/gpu").json(),
        filtered(operator.api, "logs", logs={"flow_run_id": {"any_": [run]}}),
        filtered(operator.api, "artifacts", artifacts={"flow_run_id": {"any_": [run]}}),
    ]
    files = operator.store
    texts = [str(part) for part in seen]
    texts += [log.read_text(errors="replace") for log in operator.team.folder.glob("*.log")]
    texts += [
        files.cat_file(file).decode(errors="replace")
        for file in files.find(team.BUCKET)
        if task in file or file.endswith((".json", ".html"))
    ]
    assert len(texts) > 10 and not any(key in text for text in texts)
