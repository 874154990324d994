"""What a run's log shows of an error."""

import logging
import subprocess
import sys

import pytest

from pas.errors import UserError
from tests.helpers.places import ROOT


def record(name: str, error: Exception) -> logging.LogRecord:
    """As Prefect's engine logs an error of a flow or a task."""
    return logging.getLogger(name).makeRecord(
        name, logging.ERROR, __file__, 1, "Encountered exception during execution: %r", (error,),
        (type(error), error, None),
    )  # fmt: skip


def test_what_flows_say_of_their_steps_is_shown() -> None:
    asked = "import logging, flows; print(logging.getLogger('pas').isEnabledFor(logging.INFO))"
    ran = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "True\n", ran.stderr


def test_a_mistake_is_one_line_of_the_flow_run() -> None:
    flow, task = (f"prefect.{kind}_runs" for kind in ("flow", "task"))
    mistake = UserError("--data a.csv: no such file")
    shown = record(flow, mistake)
    assert logging.getLogger(flow).filter(shown)
    assert shown.getMessage() == "error: --data a.csv: no such file" and shown.exc_info is None
    assert not logging.getLogger(task).filter(record(task, mistake))


@pytest.mark.parametrize("kind", ["flow", "task"])
def test_any_other_error_keeps_its_traceback(kind: str) -> None:
    name, error = f"prefect.{kind}_runs", RuntimeError("100 % lost")
    shown = record(name, error)
    assert logging.getLogger(name).filter(shown) and shown.exc_info == (RuntimeError, error, None)
