"""The commands of docs/operations.md back an installation up and restore it into a new one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import s3fs

from deploy import team
from deploy.processes import wait_for, without_settings
from storage.registry.versions import find_aliases, load_vector, resolve
from storage.settings import Registry
from tests.helpers.operators import Operator
from tests.helpers.places import ROOT
from tests.helpers.steerable import meals_recipe

NAME = "pas-steerable-kept"


def run_block(title: str, installation: team.Team, folder: Path) -> None:
    """Run a block of the page in a shell of an installation."""
    page = (ROOT / "docs" / "operations.md").read_text()
    [block] = re.findall(rf"<!-- {title}: run by a test -->\n```bash\n(.*?)```", page, re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block], cwd=folder, capture_output=True, text=True,
        env=without_settings() | installation.shell | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def lake_files(installation: team.Team) -> list[str]:
    store = s3fs.S3FileSystem(**installation.s3_login, use_listings_cache=False)
    files: list[str] = store.find(f"{team.BUCKET}/lake")
    return files


def test_a_champion_is_found_in_a_restored_installation(operator: Operator, tmp_path: Path) -> None:
    known = operator.known("promote")
    run = operator.ask("train", {"recipe": meals_recipe(operator.team.folder, "kept")})
    assert operator.ended(run)["type"] == "COMPLETED"
    operator.ended(operator.begun("promote", but=known))
    assert operator.aliases(NAME) == {"champion": 1}
    run_block("backup", operator.team, tmp_path)

    other = team.open_team(tmp_path / "other")
    try:
        team.start_storage(other)
        run_block("restore", other, tmp_path)
        assert lake_files(other) == lake_files(operator.team) != []
        team.start_server(other, team.mlflow_server(other))
        wait_for("MLflow", lambda: team.is_up(other.address("mlflow")))
        registry = Registry(other.address("mlflow"))
        assert find_aliases(registry, NAME) == {"champion": 1}
        vector = load_vector(registry, resolve(registry, f"{NAME}@champion"))
        np.testing.assert_array_equal(vector.direction, operator.direction(NAME))
    finally:
        team.down(other)
