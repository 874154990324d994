"""A home as a release leaves it, which later ones must read.

Run `python -m tests.helpers.written_home` before a release and commit what it writes,
`tests/fixtures/home-VERSION.tar.xz`. It holds two trainings, two promotions, a rollback and a
calibration of the steerable model, and `told.json`: what the commands said of them.
`tests/flows/test_written_home.py` reads it.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, environment
from tests.helpers.steerable import save_steerable, write_meals

NAME = "pas-steerable-meals"
FIXTURES = ROOT / "tests" / "fixtures"
_QUERIES = [
    f"SELECT count(*) AS n FROM {view}"
    for view in ("items", "predictions", "sweeps", "evaluations", "vectors", "activations")
] + ["SELECT method, layer, strength, accuracy FROM sweeps ORDER BY ALL"]
# Prefect's own files are made again, and a page is a picture of what is kept beside it.
_LEFT_OUT = ("prefect", "*.html", "*.png", "*.svg")


class WrittenHome:
    """A folder with a home, the model and the data of its trainings."""

    def __init__(self, folder: Path, code: Path = ROOT) -> None:
        self.folder, self.home, self.code = folder, folder / "home", code

    def prepare(self) -> None:
        """Make the model and the data, which are not kept: they are the same each time."""
        save_steerable(self.folder / "steerable")
        write_meals(self.folder / "meals.jsonl")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the home."""
        own = environment(self.home) | {"PYTHONPATH": str(self.code)}
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments], capture_output=True, text=True,
            check=False, timeout=PATIENCE, cwd=self.folder,
            env=own | {"PAS_CACHE_DIR": str(self.folder / "cache")},
        )  # fmt: skip

    def told(self, *arguments: str) -> Any:
        """Run a command that must end well; return what it says as JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def train(self, seed: int) -> dict[str, Any]:
        """Train; the gain is real."""
        trained: dict[str, Any] = self.told(
            *("train", "--task", "meals", "--data", str(self.folder / "meals.jsonl")),
            *("--model", str(self.folder / "steerable"), "--group-col", "scene", "--id-col", "id"),
            *("--scoring", "choice", "--methods", "caa", "--layers", "0,1,2,3"),
            *("--strengths", "1,2,4", "--seed", str(seed)),
        )
        return trained


def write(home: WrittenHome) -> dict[str, Any]:
    """Fill a home; return what the commands told."""
    home.prepare()
    trained = [home.train(0)]
    home.told("promote", NAME)
    trained.append(home.train(1))
    # Most of its test items are training items of the other one.
    home.told("promote", NAME, "--accept", "comparable items", "--reason", "for the history")
    home.told("rollback", NAME)
    home.told("calibrate", f"{NAME}:1")
    return {
        "trained": trained,
        "vectors": home.told("vectors", NAME),
        "stats": home.told("cache", "stats"),
        "rows": {sql: home.told("sql", sql) for sql in _QUERIES},
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pas-home-") as scratch:
        # MLflow keeps the place of the code, which should say nothing of this machine.
        code = Path(scratch) / "code"
        for floor in ("pas", "storage", "tasks", "flows", "serving"):
            shutil.copytree(ROOT / floor, code / floor)
        written = WrittenHome(Path(scratch), code)
        told = write(written)
        kept = Path(scratch) / "kept"
        shutil.copytree(written.home, kept / "home", ignore=shutil.ignore_patterns(*_LEFT_OUT))
        (kept / "told.json").write_text(json.dumps(told, indent=1))
        file = FIXTURES / f"home-{version('painless-steering')}.tar.xz"
        with tarfile.open(file, "w:xz") as archive:
            for part in sorted(kept.iterdir()):
                archive.add(part, part.name)
        sys.stdout.write(f"{file}: {file.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
