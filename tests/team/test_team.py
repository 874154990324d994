"""`make team` itself."""

import httpx

from deploy import team
from deploy.processes import find
from tests.helpers.operators import Operator, worker_environment


def test_started_again_it_leaves_alone_what_runs(operator: Operator) -> None:
    names = ("postgres", "s3", "mlflow", "prefect", "worker-gpu", "worker-cpu")
    before = [find(operator.team.folder, name) for name in names]
    assert None not in before
    deployed = operator.deployment("train")["id"]
    team.up(operator.team, worker_environment(operator.team))
    assert [find(operator.team.folder, name) for name in names] == before
    assert operator.deployment("train")["id"] == deployed
    assert team.open_team(operator.team.folder) == operator.team


def test_its_keys_are_needed_and_kept_to_the_user(operator: Operator) -> None:
    installation = operator.team
    assert (installation.folder / "team.json").stat().st_mode & 0o077 == 0
    assert httpx.get(f"{installation.address('s3')}/{team.BUCKET}").status_code == 403
    for log in installation.folder.glob("*.log"):
        text = log.read_text(errors="replace")
        assert not [name for name, key in installation.keys.items() if key in text], log
