"""Share: workers help a training with its extraction and its sweep."""

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from pas.errors import UserError
from tasks import resources
from tasks.extract import shard_runner
from tasks.shares import Unit, Work, fill, read_work, remove_work, write_work
from tasks.sweep import unit_runner

log = logging.getLogger("pas")
DEPLOYMENT = "share/share"
_RUNNERS: dict[str, Callable[[Work], Callable[[Unit], object]]] = {
    "extract": shard_runner,
    "sweep": unit_runner,
}


@flow(name="share", flow_run_name="help with {work}")
def share(work: str) -> int:
    """Fill units of a step's work until none is left.

    Args:
        work: Its address in the lake. Work that is done is no longer there.

    Returns:
        How many units this run has filled.
    """
    found = read_work(work)
    if found is None:
        return 0
    filled = _fill(work, found, finish=False)
    log.info("%s: %d of %d units filled here", found.step, filled, len(found.units))
    return filled


def share_out(work: Work, workers: int) -> None:
    """Have workers help with a step's work; return when all of it is done.

    This process fills units too, so that the work is done even if no worker comes.

    Args:
        work: The units.
        workers: Processes in all, this one included.

    Raises:
        UserError: If there is no deployment `share/share`.
    """
    address, runs = write_work(work), list[UUID]()
    try:
        for _ in range(min(workers, len(work.units)) - 1):
            runs.append(run_deployment(DEPLOYMENT, parameters={"work": address}, timeout=0).id)  # type: ignore[union-attr]
        filled = _fill(address, work, finish=True)
    except ObjectNotFound as error:
        raise UserError(
            f"--workers {workers}: the Prefect server has no deployment {DEPLOYMENT}. Set "
            "PREFECT_API_URL to the server whose workers shall help, and deploy there."
        ) from error
    finally:
        remove_work(address)
        _cancel_waiting(runs)
    log.info("%s: %d of %d units filled here", work.step, filled, len(work.units))


def _fill(address: str, work: Work, *, finish: bool) -> int:
    resources.model(work.recipe.model)  # loaded before a unit is claimed
    return fill(address, work.units, _RUNNERS[work.step](work), finish=finish)


def _cancel_waiting(runs: Sequence[UUID]) -> None:
    """Cancel the runs that no worker has begun."""
    with get_client(sync_client=True) as client:
        for run in runs:
            state = client.read_flow_run(run).state
            if state is not None and (state.is_scheduled() or state.is_pending()):
                client.set_flow_run_state(run, Cancelled(message="the work is done"), force=True)
