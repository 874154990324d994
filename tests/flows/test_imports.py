"""What a flow imports before it begins: what its end needs would keep it waiting for seconds."""

import subprocess
import sys

import pytest

LATER = {"datasets", "matplotlib", "mlflow", "pandas", "scipy", "sqlalchemy", "statsmodels"}


@pytest.mark.parametrize(
    ("flows", "later"),
    [
        ("train finetune study retrain watch share maintenance", LATER),
        # No decision about a version needs a tokenizer.
        ("promote", LATER | {"transformers"}),
    ],
)
def test_a_flow_begins_without_the_libraries_of_its_end(flows: str, later: set[str]) -> None:
    modules = ", ".join(f"flows.{flow}" for flow in flows.split())
    code = f"import sys, {modules}; sys.exit(', '.join({later!r} & {{*sys.modules}}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
