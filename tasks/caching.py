"""How steps are cached: by the lake address they fill, across runs, processes and machines."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

from pas.errors import UserError
from storage.lake.files import Lake
from tasks import resources

P = ParamSpec("P")


@dataclass
class LakeAddress(CachePolicy):
    """The cache key is the task's name and the address that its result fills.

    Prefect's defaults would not do: they include the run's id, and hash a task's source but not
    that of its helpers. The address is a hash of all that determines the content.
    """

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the key, the same in every run."""
        del flow_parameters, kwargs
        return f"{task_ctx.task.name}-{inputs['address'].replace('/', '-')}"


def worth_retrying(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether trying again could help: not where the user has to mend something."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


_OPTIONS: dict[str, Any] = {
    "cache_policy": LakeAddress(),
    "persist_result": True,
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": worth_retrying,
}


def step(name: str, **options: Any) -> Callable[[Callable[P, str]], Task[P, str]]:
    """Make a task of a function that fills the lake address given as its argument `address`.

    Prefect's cache is per installation; where it knows nothing but the lake has the file, as after
    another machine's run, the task ends at once all the same.

    Args:
        name: Of the task.
        **options: More options of `prefect.task`.
    """

    def decorate(fill: Callable[P, str]) -> Task[P, str]:
        signature = inspect.signature(fill)

        @wraps(fill)
        def run(*args: P.args, **kwargs: P.kwargs) -> str:
            address: str = signature.bind(*args, **kwargs).arguments["address"]
            return address if resources.lake().exists(address) else fill(*args, **kwargs)

        return task(name=name, **_OPTIONS, **options)(run)

    return decorate


def filling(filler: Task[..., str], lake: Lake, address: str) -> Task[..., str]:
    """Return the task ready to fill the address: from Prefect's cache only if the file is there.

    A file may have been removed since Prefect remembered it; the lake is the truth.
    """
    return filler.with_options(refresh_cache=not lake.exists(address))
