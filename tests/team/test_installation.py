"""A team's week in minutes: schedule, promotion, more data, refusal, drift, use, roll back."""

from typing import Any

import pandas as pd

from deploy import team
from deploy.processes import wait_for
from storage.registry.promotion import history
from storage.registry.versions import list_versions
from tests.helpers.operators import Operator
from tests.helpers.steerable import meals_recipe, write_meals

TASK = "week"
NAME = f"pas-steerable-{TASK}"


def recipe(operator: Operator, strengths: str) -> dict[str, Any]:
    """Return the team's recipe: a small strength gains less than a larger one."""
    changes = {"strengths": strengths, "split_rule": "stable"}
    data = operator.team.folder / "week.jsonl"
    return meals_recipe(operator.team.folder, TASK, data=str(data), **changes)


def schedule(operator: Operator, deployment: str, parameters: dict[str, Any]) -> str:
    """Give a deployment a schedule of one minute, the finest cron there is; return its address."""
    address = f"/deployments/{operator.deployment(deployment)['id']}/schedules"
    body = [{
        "schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True,
        "parameters": parameters, "slug": "every-minute",
    }]  # fmt: skip
    [made] = operator.api.post(address, json=body).raise_for_status().json()
    return f"{address}/{made['id']}"


def decided(operator: Operator, before: dict[str, Any]) -> str:
    """Wait for the promotion that an event starts; return how it ended."""
    run = operator.begun("promote", but=before)
    state = operator.ended(run)
    assert state["type"] == "COMPLETED", state
    name: str = state["name"]
    return name


def versions(operator: Operator) -> list[int]:
    return sorted(v.version for v in list_versions(operator.registry) if v.name == NAME)


def events(operator: Operator, name: str) -> list[dict[str, Any]]:
    criteria = {"filter": {"event": {"name": [name]}}}
    answer = operator.api.post("/events/filter", json=criteria).raise_for_status().json()
    found = [event["payload"] for event in answer["events"]]
    return [payload for payload in found if payload.get("name") == NAME]


def deploy_downstream(operator: Operator) -> None:
    """Deploy the example of a flow that each new champion starts, with a table of prompts."""
    table = operator.team.folder / "prompts.csv"
    pd.DataFrame({"prompt": ["The otter sat by the mill. It ate"]}).to_csv(table, index=False)
    deploy = ("--no-prompt", "deploy", "--all", "--prefect-file", "examples/prefect.yaml")
    team.run(operator.team, "prefect", *deploy)
    address = f"/deployments/{operator.deployment('downstream')['id']}"
    body = {"parameters": {"table": str(table)}}
    operator.api.patch(address, json=body).raise_for_status()


def answered(operator: Operator, seen: set[str]) -> list[str]:
    """Wait until the flow downstream has answered with a new champion; return the replies."""

    def look() -> str | None:
        for key, run in operator.known("downstream").items():
            # Other vectors' champions start it too.
            own = run["parameters"].get("name") == NAME and key not in seen
            if own and run["state"]["type"] == "COMPLETED":
                return key
        return None

    found = wait_for("the flow downstream", look)
    assert found is not None
    seen.add(found)
    replies: list[str] = pd.read_csv(operator.team.folder / "prompts-answered.csv")[
        "reply"
    ].tolist()
    return replies


def test_a_week_of_a_team(operator: Operator) -> None:
    write_meals(operator.team.folder / "week.jsonl", 240)
    deploy_downstream(operator)

    # A schedule makes a training; its event makes the champion.
    parameters = {"recipe": recipe(operator, "1")}
    made = schedule(operator, "retrain", parameters)
    known = operator.known("promote")
    first = operator.begun("retrain")
    assert operator.ended(first)["name"] == "Retrained"
    assert operator.api.get(f"/flow_runs/{first}").json()["auto_scheduled"]
    assert decided(operator, known) == "Promoted"
    assert operator.aliases(NAME) == {"champion": 1}
    seen: set[str] = set()
    replies = answered(operator, seen)

    # The next minute finds nothing changed.
    second = operator.begun("retrain", but={first: None})
    assert operator.ended(second)["name"] == "Unchanged"
    operator.api.delete(made).raise_for_status()
    assert versions(operator) == [1]

    # More data, and a wider search: another champion.
    write_meals(operator.team.folder / "week.jsonl", 320)
    known = operator.known("promote")
    run = operator.ask("retrain", {"recipe": recipe(operator, "2,4")})
    assert operator.ended(run)["name"] == "Retrained"
    assert decided(operator, known) == "Promoted"
    assert operator.aliases(NAME) == {"champion": 2, "previous": 1}
    assert answered(operator, seen) != replies

    # A worse one is refused and says so.
    known = operator.known("promote")
    run = operator.ask("train", {"recipe": recipe(operator, "0.5,1")})
    assert operator.ended(run)["type"] == "COMPLETED"
    assert decided(operator, known) == "Refused"
    assert versions(operator) == [1, 2, 3]
    assert operator.aliases(NAME)["champion"] == 2
    [refused] = wait_for("the refusal", lambda: events(operator, "pas.candidate.refused"))
    assert refused["version"] == 3

    # Rows on which it no longer does what it did.
    fresh = write_meals(operator.team.folder / "fresh.jsonl", 120, when="evening", label=1)
    run = operator.ask("watch", {"name": NAME, "data": str(fresh)})
    assert operator.ended(run)["type"] == "COMPLETED"
    [drifted] = wait_for("the drift", lambda: events(operator, "pas.champion.drifted"))
    assert drifted["version"] == 2

    # The one before is champion again, and the flow downstream uses it.
    run = operator.ask("rollback", {"name": NAME})
    assert operator.ended(run)["type"] == "COMPLETED"
    assert operator.aliases(NAME) == {"champion": 1, "previous": 2, "candidate": 3}
    assert answered(operator, seen) == replies
    actions = [record.action for record in history(operator.registry, NAME)]
    assert actions == ["promote", "promote", "refuse", "rollback"]
