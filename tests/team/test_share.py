"""Workers help a training on a real server: they do a part, and the result is the same."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.servers import PATIENCE, Team, filtered, finished, runs_of, wait_for
from tests.helpers.tiny_models import save_tiny

# What `extract_missing` does before it has workers help.
WRITE_WORK = """
import json, sys
from pas.recipe import Recipe
from tasks.extract import extract_missing
from tasks.load import load
from tasks.shares import new_folder, write_work

recipe = Recipe.read(json.loads(sys.argv[1]))
work = []
extract_missing(recipe, load.fn(recipe), share=work.append)
folder = new_folder()
write_work(folder, work[0])
files = [address for unit in work[0].units for address in unit.addresses]
print(json.dumps({"training": folder, "files": files}))
"""


def test_workers_share_a_training_and_its_result_is_that_of_one_process(
    bare: Team, tmp_path: Path
) -> None:
    recipe = {
        "task": "toy",
        "data": str(write_toy(tmp_path / "toy.jsonl", 400)),
        "model": str(save_tiny("llama", tmp_path / "tiny")),
        "layers": "1,2",
        "strengths": "1,4",
        "max_kl": "none",
        "scoring": "letter",
        "choices_col": "choices",
    }
    given = [f"--{name.replace('_', '-')}={value}" for name, value in recipe.items()]
    train = ["-m", "flows.cli", "train", "--json", *given]
    # Small shards, so that there is something to share.
    environment = bare.environment
    environment |= {"PAS_SHARD_TOKENS": "60", "PAS_LAKE": str(tmp_path / "shared")}
    refused = run([*train, "--workers", "2"], environment)
    assert refused.returncode == 2 and "no deployment share/share" in refused.stderr

    bare.prefect("work-pool", "create", "gpu", "--type", "process")
    bare.prefect("--no-prompt", "deploy", "--name", "share")
    [deployed] = filtered(bare.api, "deployments")
    prepared = json.loads(run(["-c", WRITE_WORK, json.dumps(recipe)], environment).stdout)
    files = [tmp_path / "shared" / file for file in prepared["files"]]
    assert len(files) > 100
    helping = {"parameters": {"training": prepared["training"]}}
    address = f"/deployments/{deployed['id']}/create_flow_run"
    asked = [bare.api.post(address, json=helping).raise_for_status() for _ in range(2)]
    bare.start("worker", "worker", "start", "--pool", "gpu")
    wait_for("the units", lambda: all(file.exists() for file in files))
    shutil.rmtree(tmp_path / "shared" / prepared["training"])  # it needs no more help
    for answer in asked:
        finished(bare.api, answer.json()["id"])

    shared = run([*train, "--workers", "2"], environment)
    assert shared.returncode == 0, shared.stderr
    assert len(runs_of(bare.api, deployed["id"])) == 3, "one more, for the sweep"
    alone = run(train, environment | {"PAS_LAKE": str(tmp_path / "alone")})
    assert alone.returncode == 0, alone.stderr

    one, other = (json.loads(done.stdout) for done in (shared, alone))
    assert (one["prompts_extracted"], other["prompts_cached"]) == (0, 0)
    for name in ("baseline_accuracy", "steered_accuracy", "layer", "strength", "prompts_total"):
        assert one[name] == other[name]
    assert re.search(r"sweep: \d of 6 units filled here", shared.stderr)
    for kind in ("vectors", "sweeps"):
        one, other = (rows(tmp_path / name, kind) for name in ("alone", "shared"))
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_allclose(value, other[key], rtol=1e-4, atol=1e-5, err_msg=str(key))


def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, timeout=2 * PATIENCE,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip


def stored(lake: Path, kind: str) -> list[Path]:
    return list((lake / kind).glob("**/*.parquet"))


def rows(lake: Path, kind: str) -> dict[Any, Any]:
    [file] = stored(lake / "stages", kind)
    names = ("method", "layer", "strength", "item_id")
    return {
        tuple(row.get(name) for name in names): row.get("direction") or row["scores"]
        for row in pq.read_table(file).to_pylist()
    }
