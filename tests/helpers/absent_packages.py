"""Running Python where packages seem absent, to show what a bare machine can do."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.places import ROOT

# What the floors above `pas` bring, and these floors themselves.
PIPELINE = (
    "prefect", "mlflow", "duckdb", "sqlalchemy", "fastapi", "uvicorn", "alembic", "pydantic",
    "matplotlib", "statsmodels", "jinja2", "typer", "rich", "peft", "trl",
    "flows", "tasks", "storage",
)  # fmt: skip

# Each finder is wrapped, so that a hidden package is absent rather than broken: libraries that ask
# whether it is there are told no.
_HIDING = """
import runpy, sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *args):
        if name.partition(".")[0] in {absent!r}:
            return None
        return self.finder.find_spec(name, *args)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
sys.argv = sys.argv[1:]
"""


def run_without(
    absent: tuple[str, ...], code: str, *arguments: str, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in which the packages cannot be imported."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _HIDING.format(absent=absent) + code, "python", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
