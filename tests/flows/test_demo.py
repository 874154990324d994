"""`pas demo` earns its promotion with the real model, and costs nothing the second time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.places import ROOT

pytestmark = [pytest.mark.server, pytest.mark.demo_model, pytest.mark.whole]


def demo(home: Path) -> dict[str, Any]:
    own = ("PAS_", "PREFECT_", "MLFLOW_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(own) or k == "PAS_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "demo", "--json"],
        cwd=ROOT,
        env=kept | {"PAS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_demo_earns_its_promotion_and_is_remembered(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert (first["verdict"], first["promoted"], first["version"]) == ("real", True, 1)
    assert first["delta"] > 0.1 and first["p_value"] < 0.01
    assert first["prompts_extracted"] == first["prompts_total"] > 0
    # What the README shows. Text of another machine may differ in a word; the opposite is gloomier.
    assert {*first["texts"][0]} == {"prompt", "unsteered", "steered", "opposite"}
    assert all(text["steered"] != text["opposite"] for text in first["texts"])

    second = demo(tmp_path)
    assert second["prompts_extracted"] == 0
    assert (second["version"], second["is_new"], second["promoted"]) == (1, False, True)
    same = ("method", "layer", "strength", "baseline_accuracy", "steered_accuracy", "texts")
    assert [second[name] for name in same] == [first[name] for name in same]
