"""Where the tasks of a flow run: threads of its own process, or an engine that is there already."""

from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pas.errors import UserError
from storage.settings import settings


def task_runner() -> TaskRunner[Any]:
    """Return the task runner that the settings name.

    Raises:
        UserError: If its package is not installed, or tasks would run in processes that an
            embedded Prefect server does not serve.
    """
    engine, _, address = settings().task_runner.partition("=")
    if engine == "threads":
        # Two shards in flight: one is written while the model runs the next.
        return ThreadPoolTaskRunner(max_workers=2)
    if not PREFECT_API_URL.value():
        raise UserError(
            f"PAS_TASK_RUNNER={engine}: its processes need a Prefect server. Start one with "
            "`prefect server start` and set PREFECT_API_URL."
        )
    try:
        if engine == "dask":
            from prefect_dask import DaskTaskRunner as Runner
        else:
            from prefect_ray import RayTaskRunner as Runner
    except ImportError as error:
        raise UserError(
            f"PAS_TASK_RUNNER={engine}: install what it needs with "
            f"pip install 'painless-steering[{engine}]' ({error})"
        ) from error
    runner: TaskRunner[Any] = Runner(address=address or None)
    return runner
