"""A password in the lake's URL or the tracking URI is printed and kept nowhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from storage.settings import settings
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, environment

SECRET = "s3kr1t"
NAME = "pas-tiny-toy"


@pytest.mark.server
def test_the_password_of_a_lake_shows_nowhere(
    pas, home: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAS_LAKE", f"memory://ada:{SECRET}@lake")
    settings.cache_clear()
    train = ("train", "--task", "toy", "--data", write_toy(tmp_path / "toy.jsonl"),
             "--group-col", "topic", "--model", tiny_folder, "--layers", "1", "--strengths", "1",
             "--json")  # fmt: skip
    for command in (
        train,
        ("cache", "stats"),
        ("cache", "stats", "--json"),
        ("cache", "verify"),
        ("cache", "why", "stages/none/0.parquet"),
        ("status",),
        ("status", "--html", tmp_path / "status.html"),
        ("status", "--json"),
        ("metrics",),
        ("doctor",),
        ("vectors", NAME),
        ("promote", NAME),
        ("watch", NAME, "--data", tmp_path / "toy.jsonl"),
        ("sql", "SELECT count(*) FROM vectors"),
    ):
        ran = pas(*command)
        assert ran.code in (0, 1, 2) and ran.out + ran.err
        assert SECRET not in ran.out + ran.err, command
    kept = [file for file in (*home.rglob("*"), tmp_path / "status.html") if file.is_file()]
    assert {"mlflow.db", "lineage.json", "status.html"} < {file.name for file in kept}
    assert [file for file in kept if SECRET.encode() in file.read_bytes()] == []


@pytest.mark.faults
@pytest.mark.parametrize(
    ("variable", "address", "commands"),
    [
        ("PAS_LAKE", f"nowhere://ada:{SECRET}@host/lake", ["stats", "doctor"]),
        ("PAS_LAKE", f"s3://ada:{SECRET}@bucket/[lake]", ["stats", "doctor"]),
        ("MLFLOW_TRACKING_URI", f"http://ada:{SECRET}@127.0.0.1:1", ["doctor", "promote"]),
        ("MLFLOW_TRACKING_URI", f"postgresql://ada:{SECRET}@127.0.0.1:1/mlflow", ["doctor"]),
        ("PREFECT_API_URL", f"http://ada:{SECRET}@127.0.0.1:1/api", ["status", "doctor"]),
    ],
)
def test_the_password_of_a_store_that_fails_is_not_told(
    tmp_path: Path, variable: str, address: str, commands: list[str]
) -> None:
    env = environment(tmp_path / "home") | {variable: address, "PAS_ARTIFACT_ROOT": str(tmp_path)}
    asked = {"stats": ("cache", "stats"), "promote": ("promote", NAME)}
    for command in commands:
        # In a process of its own: MLflow's tries to reach a database go on for minutes.
        ran = subprocess.run(
            [sys.executable, "-m", "flows.cli", *asked.get(command, (command,))],
            env=env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert ran.returncode in (0, 1, 2) and SECRET not in ran.stdout + ran.stderr
    assert ran.returncode != 0
