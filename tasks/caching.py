"""How steps are cached: by the lake address they fill, across runs, processes and machines.

A step names the function that computes its address from its arguments, and returns the table to be
stored there:

    @step("predict", address=predictions_stage)
    def predict(recipe, split): ...

    predictions = predict(recipe, split)  # the address of the table
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import pyarrow as pa
from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

from pas.errors import UserError
from storage.lake.stages import Stage
from storage.lake.verification import intact
from tasks import resources

P = ParamSpec("P")


@dataclass
class LakeAddress(CachePolicy):
    """The cache key is the task's name and the address that its result fills.

    Prefect's default keys include the run's id, and hash a task's source but not that of its
    helpers. The address is a hash of everything that determines the content.
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
    """Whether a retry could help: not for a mistake that the user has to correct."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


def filling(name: str, fill: Callable[..., str], **options: Any) -> Task[..., str]:
    """Make a task of a function that fills the lake address in its argument `address`.

    If the lake has the file, for example from another machine, the task ends at once. Prefect's
    own cache need not know of it. A damaged file is set aside and filled anew.

    Args:
        name: Of the task.
        fill: Returns the address.
        **options: More options of `prefect.task`.
    """

    @wraps(fill)
    def run(*args: Any, **kwargs: Any) -> str:
        address: str = signature.bind(*args, **kwargs).arguments["address"]
        return address if intact(resources.lake(), address) else fill(*args, **kwargs)

    signature = inspect.signature(fill)
    return task(
        name=name,
        cache_policy=LakeAddress(),
        persist_result=True,
        retries=2,
        retry_delay_seconds=[1, 10],
        retry_condition_fn=worth_retrying,
        **{"task_run_name": name.replace("-", " ")} | options,
    )(run)


def ready(filler: Task[..., str], address: str) -> Task[..., str]:
    """Return the task ready to fill the address: from Prefect's cache only if the file is there.

    A file may have been removed since Prefect cached the result. The lake decides.
    """
    return filler.with_options(refresh_cache=not intact(resources.lake(), address))


def step(
    name: str, *, address: Callable[P, Stage], **options: Any
) -> Callable[[Callable[P, pa.Table]], Callable[P, str]]:
    """Make a step of a function that returns a table: calling it returns the table's address.

    Args:
        name: Of the Prefect task.
        address: Returns, for the same arguments, where the table is stored.
        **options: More options of `prefect.task`.
    """
    stage_of = address

    def decorate(make: Callable[P, pa.Table]) -> Callable[P, str]:
        @wraps(make)
        def fill(*args: Any, address: str, ingredients: dict[str, Any], **kwargs: Any) -> str:
            metadata = Stage(address, ingredients).metadata
            return resources.lake().write_table(address, make(*args, **kwargs), metadata)

        # Prefect reads a task's parameters off the signature.
        signature = inspect.signature(make)
        own = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
            for name, kind in (("address", str), ("ingredients", dict))
        ]
        fill.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *own], return_annotation=str
        )
        filler = filling(name, fill, **options)

        @wraps(make)
        def run(*args: P.args, **kwargs: P.kwargs) -> str:
            where = stage_of(*args, **kwargs)
            return ready(filler, where.address)(*args, **where._asdict(), **kwargs)

        return run

    return decorate
