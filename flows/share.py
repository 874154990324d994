"""Share: workers help a training with its extraction and its sweep."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from pas.errors import UserError
from tasks import resources
from tasks.extract import shard_runner
from tasks.shares import (
    Share,
    Unit,
    Work,
    fill,
    find_work,
    new_folder,
    read_work,
    remove_work,
    write_work,
)
from tasks.sweep import unit_runner

log = logging.getLogger("pas")
DEPLOYMENT = "share/share"
IDLE_SECONDS = 60.0
"""How long a run waits for more work of its training, with the model loaded."""
_POLL = 1.0  # seconds
_RUNNERS: dict[str, Callable[[Work], Callable[[Unit], object]]] = {
    "extract": shard_runner,
    "sweep": unit_runner,
}


@flow(name="share", flow_run_name="help the training {training}")
def share(training: str) -> int:
    """Fill units of a training's work until it needs no more help; started by the training.

    Args:
        training: Where its work is stored in the lake. It is removed when no help is needed.

    Returns:
        How many units this run has filled.
    """
    filled, done, since = 0, set[str](), time.monotonic()
    while (found := find_work(training)) and time.monotonic() - since < IDLE_SECONDS:
        for address in sorted({*found} - done):
            try:
                work = read_work(address)
            except FileNotFoundError:  # removed since it was listed: no more help is needed
                break
            count = _fill(address, work, finish=False)
            log.info("%s: %d of %d units filled here", work.step, count, len(work.units))
            filled, since = filled + count, time.monotonic()
            done.add(address)
        time.sleep(_POLL)
    return filled


@contextmanager
def helped(workers: int) -> Iterator[Share | None]:
    """Yield what has workers help with a step's work, or None for one process alone.

    This process fills units too, so that the work is done even if no worker comes. A worker stays
    from one step to the next, and one that has died is replaced at the next step.

    Args:
        workers: Processes in all, this one included.

    Raises:
        UserError: If there is no deployment `share/share`.
    """
    if workers <= 1:
        yield None
        return
    folder, runs = new_folder(), list[UUID]()
    with get_client(sync_client=True) as client:

        def have_filled(work: Work) -> None:
            address = write_work(folder, work)
            helping = sum(not _ended(client, run) for run in runs)
            for _ in range(helping, min(workers, len(work.units)) - 1):
                runs.append(_start(folder, workers))
            count = _fill(address, work, finish=True)
            log.info("%s: %d of %d units filled here", work.step, count, len(work.units))

        try:
            yield have_filled
        finally:
            remove_work(folder)
            _cancel_waiting(client, runs)


def _start(folder: str, workers: int) -> UUID:
    try:
        run = run_deployment(DEPLOYMENT, parameters={"training": folder}, timeout=0)
    except ObjectNotFound as error:
        raise UserError(
            f"--workers {workers}: the Prefect server has no deployment {DEPLOYMENT}. Set "
            "PREFECT_API_URL to the server whose workers shall help, and deploy there."
        ) from error
    return run.id  # type: ignore[union-attr]


def _fill(address: str, work: Work, *, finish: bool) -> int:
    resources.model(work.recipe.model)  # loaded before a unit is claimed
    return fill(address, work.units, _RUNNERS[work.step](work), finish=finish)


def _ended(client: SyncPrefectClient, run: UUID) -> bool:
    state = client.read_flow_run(run).state
    return state is not None and state.is_final()


def _cancel_waiting(client: SyncPrefectClient, runs: list[UUID]) -> None:
    """Cancel the runs that no worker has begun."""
    for run in runs:
        state = client.read_flow_run(run).state
        if state is not None and (state.is_scheduled() or state.is_pending()):
            client.set_flow_run_state(run, Cancelled(message="the work is done"), force=True)
