"""docs/exports.md as it stands, on a tiny model: every command and every piece of code."""

import csv
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main
from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from pas.steering.export.formats import FORMATS
from storage.registry.promotion import promote
from tasks import resources
from tests.helpers.exported import vector_for
from tests.helpers.places import ROOT
from tests.helpers.processes import environment
from tests.helpers.registries import log
from tests.helpers.snippets import SHOWN, blocks, commands

PAGE = "docs/exports.md"
NAME = "pas-smollm2-135m-instruct-demo"


@pytest.mark.whole
def test_the_page_runs(
    home: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = load_model(ModelSpec(str(tiny_folder), device="cpu"), tmp_path / "cache")
    vector = vector_for(model, 2)
    vector.save("vector")
    log(resources.registry(), NAME, vector=vector)
    promote(resources.registry(), NAME, 1)
    write_replies(tmp_path / "replies.csv")
    for block in blocks(PAGE):
        if block.language == "bash":
            for command in commands(block.text):
                run_pas(command.replace("--model demo", f"--model {tiny_folder}"), monkeypatch)
        elif block.language == "python":
            text = block.text.replace('"demo"', repr(str(tiny_folder)))
            done = subprocess.run(
                [sys.executable, "-c", text], env=environment(home), text=True,
                capture_output=True,
            )  # fmt: skip
            assert done.returncode == 0, f"{PAGE}, line {block.line}: {done.stderr[-3000:]}"
        else:
            assert block.language in SHOWN, f"{PAGE}, line {block.line}: say how to check it"


def write_replies(file: Path) -> None:
    with file.open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["message", "kind", "curt", "right"])
        for i in range(60):
            row = [f"Customer: where is parcel {i}?", f"I am sorry, it is on its way, {i}.", "No."]
            table.writerow([*row, "A" if i % 3 else "B"])


def run_pas(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    assert program == "pas", command
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    try:
        main()
    except SystemExit as end:
        assert not end.code, command


def test_the_page_has_every_format() -> None:
    page = (ROOT / PAGE).read_text()
    assert all(f"\n### {name}" in page for name in FORMATS)
