"""The GPU benchmark, small and on the CPU: it runs with few packages and its letters agree."""

import json
from pathlib import Path

import pytest

from benchmarks.planning import estimates
from benchmarks.rates import rates_of
from pas.study.file import read_study
from tests.helpers.absent_packages import run_without
from tests.helpers.places import ROOT

pytestmark = pytest.mark.whole

# What a bare GPU machine may lack; they must seem absent, not broken.
ABSENT = ("prefect", "mlflow", "duckdb", "pyarrow", "datasets", "pydantic", "pydantic_settings",
          "rich", "pandas", "matplotlib", "accelerate", "gguf", "sqlalchemy",
          "platformdirs")  # fmt: skip
GPU = 'import runpy; sys.argv[0] = "gpu"; runpy.run_module("benchmarks.gpu", run_name="__main__")'


def measured(folder: Path, dtype: str) -> dict:
    out = folder / f"{dtype}.json"
    options = {
        "--shape": "tiny", "--device": "cpu", "--dtype": dtype, "--items": 6,
        "--configurations": 12, "--check": 6, "--check-configurations": 12, "--repeats": 1,
        "--limit": 60, "--out": out,
    }  # fmt: skip
    done = run_without(ABSENT, GPU, *(str(x) for pair in options.items() for x in pair))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_figures_and_letters(tmp_path: Path, dtype: str) -> None:
    found = measured(tmp_path, dtype)
    assert found["covered"] and "left out" not in found
    assert all(rate > 0 for rate in found["products"].values())
    for part in ("extraction", "row budgets", "sweep"):
        for line in found[part]:
            assert line["s"] > 0 and line["items/s"] > 0 and 0 < line["of peak"] < 1
    for part in ("profile of the sweep", "profile of the extraction"):
        shares = [found[part]["table"][i]["share"] for i in (1, 2, 3)]
        assert sum(shares) == pytest.approx(1) and found[part]["kernels"]
    agreed = found["agreement"]
    assert agreed["finite"] and min(agreed["letters"]) > 0
    plan = read_study(ROOT / "studies" / "paper.yaml")
    rates = rates_of(plan, measured=tmp_path / f"{dtype}.json")
    assert rates.whole == max(line["TFLOP/s"] for line in found["extraction"])
    assert rates.steered == max(line["TFLOP/s"] for line in found["sweep"])
    assert rates.source == f"measured on cpu, torch.{dtype}, by benchmarks.gpu"
    assert estimates(plan)[0].hours(rates) > estimates(plan)[0].hours(rates_of(plan)) > 0
    ours = agreed["table"][0]
    assert ours["cells"] == 6 * 13
    if dtype == "float32":
        assert ours["unequal"] == 0
    else:
        # Rounding adds up over the blocks, so a tie may be wider than one step of the logits.
        assert ours["the same, relative"] <= 2**-4
        assert ours["median error"] < 2**-5
