"""The tasks of an extraction run on an engine of one's own."""

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.servers import PATIENCE, Team
from tests.helpers.tiny_models import save_tiny


def test_an_extraction_on_dask_is_that_of_threads(bare: Team, tmp_path: Path) -> None:
    data, model = write_toy(tmp_path / "toy.jsonl"), save_tiny("llama", tmp_path / "tiny")
    command = [
        *("-m", "flows.cli", "train", "--task", "toy", "--data", str(data), "--scoring", "letter"),
        *("--model", str(model), "--layers", "1", "--strengths", "1", "--max-kl", "none"),
        *("--choices-col", "choices", "--json"),
    ]

    def run(environment: dict[str, str], home: str, runner: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, stdin=subprocess.DEVNULL,
            env=environment | {"PAS_HOME": str(tmp_path / home), "PAS_TASK_RUNNER": runner},
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outcome: dict[str, object] = json.loads(done.stdout)
        return {k: v for k, v in outcome.items() if k not in ("run_id", "seconds")}

    environment = bare.environment | {"PAS_SHARD_TOKENS": "400"}
    assert run(environment, "dask", "dask") == run(environment, "threads", "threads")
    shards = [
        {file.name for file in (tmp_path / home).glob("lake/activations/**/*.parquet")}
        for home in ("dask", "threads")
    ]
    assert shards[0] == shards[1] and len(shards[0]) > 3


def test_processes_need_a_server(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import flows.train"], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": "", "PAS_TASK_RUNNER": "dask", "PREFECT_HOME": str(tmp_path)},
    )  # fmt: skip
    assert "UserError: PAS_TASK_RUNNER=dask: its processes need a Prefect server" in done.stderr
