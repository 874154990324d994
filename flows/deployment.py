"""Deploy: make a team's Prefect server hold the project's deployments and automations.

`prefect.yaml` beside this module is the definition of the deployments, `automations.yaml` that of
the automations that belong to none of them. `prefect deploy --all` in a clone reads the former too,
but it makes each deployment's automations anew, switched on, and sets schedules back to the file.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr

from flows.events import EVENTS
from pas.errors import UserError

DEPLOYMENTS = Path(__file__).with_name("prefect.yaml")
AUTOMATIONS = Path(__file__).with_name("automations.yaml")
NOTIFICATION = "notify of what becomes of vectors"
_WEBHOOK = "pas-notifications"
_POOLS: Mapping[str, int | None] = {"gpu": None, "cpu": 1}  # runs at once; None for no limit
_MOST = 200  # deployments that are looked at, Prefect's limit of a page


class Deployed(NamedTuple):
    """What is on the server.

    Attributes:
        deployments: By id.
        switched: Automations by name, and whether they are switched on.
    """

    deployments: dict[str, DeploymentResponse]
    switched: dict[str, bool]


def deploy(
    file: Path = DEPLOYMENTS, notify: str | None = None, *, reset: bool = False
) -> list[str]:
    """Make or update pools, deployments and automations on the server that Prefect is set to.

    What was set on the server stays: the parameters and schedules of deployments, and which
    automations are switched on.

    Args:
        file: The deployments, in the format of Prefect's `prefect.yaml`.
        notify: Address that gets a JSON document for each event of `flows.events`; None leaves the
            notification as it is.
        reset: Set everything as the files say instead.

    Returns:
        The deployments of the file, "flow/name".

    Raises:
        UserError: If Prefect refuses the file.
    """
    with get_client(sync_client=True) as client:
        for pool, limit in _POOLS.items():
            _ensure_pool(client, pool, limit)
        before = deployed(client)
        _deploy_all(file)
        made = yaml.safe_load(AUTOMATIONS.read_text(encoding="utf-8"))["automations"]
        wanted = [AutomationCore.model_validate(automation) for automation in made]
        for automation in [*wanted, *([notification(notify)] if notify else [])]:
            _put(client, automation)
        if not reset:
            _restore(client, before)
        flows = {flow.id: flow.name for flow in client.read_flows(limit=_MOST)}
        names = {d["name"] for d in yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]}
        after = deployed(client).deployments.values()
        return sorted(f"{flows[d.flow_id]}/{d.name}" for d in after if d.name in names)


def notification(address: str) -> AutomationCore:
    """Keep an address as a block of the server, and return an automation that calls it.

    The address may be a secret, as those of chat services are: it is stored encrypted. They show
    the document's `text`; programs find the event's name and payload beside it.
    """
    block = Webhook(method="POST", url=SecretStr(address))
    document = {
        "text": "{{ event.event }}: {{ event.resource.name }} "
        "{% for name, value in event.payload.items() %}{{ name }}={{ value }} {% endfor %}",
        "event": "{{ event.event }}",
        "payload": "PAYLOAD",
    }
    payload = json.dumps(document).replace('"PAYLOAD"', "{{ event.payload | tojson }}")
    return AutomationCore.model_validate(
        {
            "name": NOTIFICATION,
            "description": f"Send each event of the project to the webhook block {_WEBHOOK}.",
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "match": {"prefect.resource.id": "pas.vector.*"},
                "for_each": ["prefect.resource.id"],
                "expect": [event.EVENT for event in EVENTS],
                "threshold": 1,
                "within": 0,
            },
            "actions": [
                CallWebhook(
                    block_document_id=block.save(_WEBHOOK, overwrite=True), payload=payload
                ).model_dump(mode="json")
            ],
        }
    )


def _ensure_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    """Make a process pool unless there is a pool of that name, of whatever type."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        # Without it the pool has no variables, such as `env`, until its first worker has started.
        template = ProcessWorker.get_default_base_job_template()
        made = WorkPoolCreate(name=name, type="process", base_job_template=template)
        client.create_work_pool(made)
        if limit is not None:
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def _deploy_all(file: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(file)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise UserError(f"{file}: prefect deploy failed: {' '.join(lines[-3:])}")


def deployed(client: SyncPrefectClient) -> Deployed:
    """Return the deployments and automations that are on the server."""
    deployments = client.read_deployments(limit=_MOST)
    switched = {a.name: a.enabled for a in client.read_automations(limit=_MOST)}
    return Deployed({str(d.id): d for d in deployments}, switched)


def _put(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Make an automation, or give the one of that name this definition."""
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)


def _restore(client: SyncPrefectClient, before: Deployed) -> None:
    """Set what there was before as it was; what is new stays as its file says."""
    now = deployed(client)
    for key, old in before.deployments.items():
        new = now.deployments.get(key)
        if new is None:
            continue
        if new.parameters != old.parameters:
            client.update_deployment(new.id, DeploymentUpdate(parameters=old.parameters))
        kept = {s.slug: s for s in old.schedules if s.slug}
        for schedule in new.schedules:
            was = kept.get(schedule.slug or "")
            if was is not None and was != schedule:
                client.update_deployment_schedule(
                    new.id, schedule.id, was.active, was.schedule, parameters=was.parameters
                )
    for automation in client.read_automations(limit=_MOST):
        if before.switched.get(automation.name, automation.enabled) != automation.enabled:
            change = client.resume_automation if not automation.enabled else client.pause_automation
            change(automation.id)
