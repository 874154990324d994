"""What every command that runs a flow does first."""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from flows.embedded import Server
    from storage.processes import Process

_ANSWER = 5.0  # seconds for the first answer of a server
_LEAVING = 5.0  # seconds
P = ParamSpec("P")
R = TypeVar("R")


class _Session:
    """What this process has begun: a server of its own, and flows."""

    server: "Server | None" = None
    in_flow = False


def begin(*, verbose: bool = False, with_server: bool = True) -> None:
    """Prepare the environment and our own log lines; call before importing a flow.

    Args:
        verbose: Let Prefect's own log lines through too.
        with_server: Find or start a Prefect server for `call`. One that is started here gets ready
            while other libraries are imported, and writes nothing before the first flow.
    """
    from flows.runtime import prepare_environment
    from storage.settings import settings

    prepare_environment(settings().root, verbose=verbose)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("pas")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = verbose
    if with_server:
        check_stores()
        _find_server()


def check_stores() -> None:
    """See that stores answer, before their clients wait for minutes or work is lost.

    Raises:
        UserError: If one does not, or MLflow's SQLite file is damaged or locked; names the place
            and the remedy.
    """
    from pas.errors import UserError
    from storage.settings import settings

    check_registry(writing=True)
    lake = settings().open_lake()
    if lake.is_local:
        return
    failed: SimpleQueue[Exception | None] = SimpleQueue()

    def look() -> None:
        try:
            lake.list("doctor")  # a small folder; to ask for one file hides that nobody answers
            failed.put(None)
        except Exception as error:  # whatever the client of the store raises
            failed.put(error)

    Thread(target=look, daemon=True).start()
    try:
        error = failed.get(timeout=3 * _ANSWER)
    except Empty:
        error = TimeoutError(f"no answer within {3 * _ANSWER:g} s")
    if error is not None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"PAS_LAKE {lake.name}: {reason}. Start the store, or correct its "
            "address and keys where its client reads them, for S3 in AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error


def check_registry(*, writing: bool = False) -> None:
    """See that the registry answers, for a command that may need nothing else.

    Args:
        writing: Also see that it can be written now.

    Raises:
        UserError: If it does not, or MLflow's SQLite file is damaged or locked.
    """
    from storage.registry.database import check_database, database_file
    from storage.registry.server import check_server
    from storage.settings import settings

    registry = settings().open_registry()
    check_server(registry)
    database = database_file(registry)
    if database is not None and database.exists():
        check_database(database, writing=writing)


def _find_server() -> None:
    """Let Prefect find a server: the one that is set, the home's, or a new one of our own."""
    from flows.embedded import find_staying, start_for_command
    from storage.settings import settings
    from tasks.prefect_api import prefect_server, prefect_setting

    home = settings().root
    if "prefect" in sys.modules:  # it has read its settings, and found a server or will start one
        return
    if prefect_setting(home, "PREFECT_API_URL"):
        prefect_server(home, timeout=_ANSWER).ask("/admin/version")
        return
    if prefect_setting(home, "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE") in ("false", "0"):
        return
    staying = find_staying(home)
    if staying is not None:
        address = staying.address
    else:
        _Session.server = start_for_command()
        atexit.register(_Session.server.stop)  # after Prefect's own last words: it comes later
        address = _Session.server.address
        os.environ["PREFECT_UI_ENABLED"] = "0"  # it has no pages, so nothing links to them
    os.environ["PREFECT_API_URL"] = f"{address}/api"


def call(flow: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow in this process, after closing the runs that killed ones left open."""
    from prefect import tags

    from flows.runtime import make_home
    from storage.processes import ended, this_process
    from storage.settings import settings
    from tasks.prefect_api import PROCESS_TAG

    make_home(settings().root)
    if _Session.server is not None:
        _Session.server.wait_until_ready()
    if not _Session.in_flow:
        close_runs(ended)
    _Session.in_flow = True
    with tags(f"{PROCESS_TAG}{this_process()}"):
        return flow(*args, **kwargs)


def close_runs(gone: "Callable[[Process], bool]") -> list[str]:
    """Close the unfinished runs of processes that are gone, in Prefect and MLflow.

    Args:
        gone: Whether a process is; see `storage.processes.ended`.

    Returns:
        The runs' names.
    """
    from storage.registry.runs import close_killed_runs
    from storage.settings import settings
    from tasks.prefect_api import prefect_server, prefect_setting

    now = settings()
    closed = []
    if now.has_registry:  # to look at it would make a new home's
        closed += close_killed_runs(now.open_registry(), now.experiment, gone)
    if prefect_setting(now.root, "PREFECT_API_URL"):
        closed += prefect_server(now.root).close_runs(gone)
    return closed


def leave() -> None:
    """Close what this process has open, because it is about to be ended.

    A server that is gone does not hold this up for longer than `_LEAVING`.
    """
    if _Session.in_flow:
        from storage.processes import this_process

        own = this_process()
        closing = Thread(target=close_runs, args=(own.__eq__,), daemon=True)
        closing.start()
        closing.join(_LEAVING)
    if _Session.server is not None:
        _Session.server.kill()
