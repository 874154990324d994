"""How flows end: in a state whose name tells people what came of the run."""

from typing import TypeVar

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
