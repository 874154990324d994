"""How flows end: in a state whose name tells people what came of the run."""

from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Completed

T = TypeVar("T")


def ended(name: str, message: str, value: T) -> T:
    """Return what a flow returns to end completed, by a name of its own such as "Refused".

    Args:
        name: Of the state, shown in the list of runs.
        message: What came of it, as a sentence.
        value: What callers of the flow get: Prefect takes it out of the state.
    """
    return Completed(name=name, message=message, data=value)  # type: ignore[return-value]


def add_to_name(text: str) -> None:
    """Add to the name of the flow run that is running, such as the version that it made."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_name(UUID(str(flow_run.id)), f"{flow_run.name}{text}")
