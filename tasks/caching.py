"""How steps are cached: by the lake address they fill, across runs, processes and machines.

A step names the function that computes its address from its arguments, and returns the table to be
stored there:

    @step("predict", address=predictions_stage)
    def predict(recipe, split): ...

    predictions = predict(recipe, split)  # the address of the table
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import pyarrow as pa
from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed

from pas.errors import UserError
from storage.lake.stages import Stage
from storage.lake.verification import intact
from tasks import resources

P = ParamSpec("P")


def worth_retrying(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether a retry could help: not for a mistake that the user has to correct."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


def filling(name: str, fill: Callable[..., str], **options: Any) -> Task[..., str | State[str]]:
    """Make a task of a function that fills the lake address in its argument `address`.

    One that writes several files has the argument `addresses`. If the lake has all of them, for
    example from another machine, the task ends at once, as `Cached`. A damaged file is set aside
    and filled anew. The lake alone decides: Prefect would keep results in files that it takes code
    from, and trusts whoever can write there.

    Args:
        name: Of the task.
        fill: Returns the address, or the last of several.
        **options: More options of `prefect.task`.
    """

    @wraps(fill)
    def run(*args: Any, **kwargs: Any) -> str | State[str]:
        given = signature.bind(*args, **kwargs).arguments
        addresses = given["addresses"] if "addresses" in given else (given["address"],)
        if all(intact(resources.lake(), address) for address in addresses):
            return Completed(name="Cached", data=addresses[-1])
        return fill(*args, **kwargs)

    signature = inspect.signature(fill)
    return task(
        name=name,
        persist_result=False,
        retries=2,
        retry_delay_seconds=[1, 10],
        retry_condition_fn=worth_retrying,
        **{"task_run_name": name.replace("-", " ")} | options,
    )(run)


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
            filler(*args, **where._asdict(), **kwargs)
            return where.address

        return run

    return decorate
