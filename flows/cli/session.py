"""What every command that runs a flow does first."""

import logging
import sys
from collections.abc import Callable
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_starting: list[Thread] = []


def begin(*, verbose: bool = False, with_server: bool = False) -> None:
    """Prepare the environment and our own log lines; call before importing a flow.

    Args:
        verbose: Let Prefect's own log lines through too.
        with_server: Start Prefect's embedded server in the background, while other libraries are
            imported. For commands that cannot be refused: the server leaves its files behind.
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
        _start_server()
    from transformers.utils import logging as transformers_log

    transformers_log.disable_progress_bar()  # the hub's own, of downloads, stays


def _start_server() -> None:
    from prefect.settings import PREFECT_API_URL

    from flows.runtime import make_home
    from storage.settings import settings

    if PREFECT_API_URL.value():
        return
    make_home(settings().root)
    # Imported here: two threads that import the same modules get in each other's way.
    from prefect.server.api.server import SubprocessASGIServer

    _starting.append(Thread(target=SubprocessASGIServer().start, daemon=True))
    _starting[0].start()


def call(flow: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow in this process, on the server that is set or an ephemeral one."""
    from flows.runtime import make_home
    from storage.settings import settings

    make_home(settings().root)
    for thread in _starting:
        thread.join()
    return flow(*args, **kwargs)
