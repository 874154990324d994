"""A step fills its address once, and says what it was made from."""

from pathlib import Path

import pyarrow as pa
import pytest
from prefect import flow

from pas.errors import UserError
from storage.lake.stages import Stage, read_ingredients, stage
from tasks import resources
from tasks.caching import step

pytestmark = pytest.mark.server
CALLS: list[int] = []


def squares_stage(n: int, *, start: int = 0) -> Stage:
    return stage(resources.lake(), "squares", n=n, start=start)


@step("squares", address=squares_stage)
def squares(n: int, *, start: int = 0) -> pa.Table:
    """Return the squares of n numbers."""
    CALLS.append(n)
    if n < 0:
        raise UserError("give n of at least 0")
    return pa.table({"square": [i * i for i in range(start, start + n)]})


@pytest.fixture(autouse=True)
def no_calls(home: Path) -> None:
    del home
    CALLS.clear()


@flow(name="squares")
def run(n: int, start: int = 0) -> str:
    return squares(n, start=start)


def test_a_step_returns_the_address_of_its_table() -> None:
    address = run(3, start=1)
    assert address == squares_stage(3, start=1).address
    assert resources.lake().read_table(address)["square"].to_pylist() == [1, 4, 9]
    assert read_ingredients(resources.lake(), address) == {"n": 3, "start": 1}


def test_what_is_stored_is_not_made_again_and_what_is_gone_is() -> None:
    address = run(4)
    assert run(4) == address and CALLS == [4]
    assert run(5) != address and CALLS == [4, 5]
    # Prefect remembers the task, but the lake is the truth.
    resources.lake().remove(address)
    assert run(4) == address and CALLS == [4, 5, 4]
    assert resources.lake().exists(address)


def test_a_users_mistake_is_not_tried_again() -> None:
    with pytest.raises(UserError, match="at least 0"):
        run(-1)
    assert CALLS == [-1]
