"""Every command and snippet of README.md and docs/ runs as it stands, or for a stated reason not.

The pages are read from top to bottom in one folder and one `PAS_HOME`, as a reader would follow
them. Nothing is left out silently: a block in an unknown language and a command of an unknown
program fail. What would need a server, a hub or hours is in `STAND_INS` and `NOT_RUN`, with the
reason; the options of a command that is not run are looked up in the program.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.core import TyperGroup

from flows.cli import main
from flows.cli.commands import app
from pas.intake.mapping_file import read_mapping
from pas.models.loading import load_model
from pas.study.file import read_study
from serving.vectors import Vectors
from storage.registry.versions import VectorVersion, list_versions, load_vector
from storage.settings import Registry, settings
from tests.helpers.chat_templates import CHATML
from tests.helpers.made_up_data import write_made_up
from tests.helpers.places import ROOT, STUDIES
from tests.helpers.running_server import serving
from tests.helpers.snippets import SHOWN, Block, blocks, commands
from tests.helpers.tiny_models import save_tiny

PAGES = ("README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))
ELSEWHERE = {  # pages that are run there, with their output or their files
    "docs/exports.md": "tests/docs/test_exports.py",
    "docs/library.md": "tests/docs/test_library.py",
}


class StandIn(NamedTuple):
    """What a test puts in place of a part of a command, and why."""

    pattern: str
    replacement: str
    reason: str


STAND_INS = (
    StandIn(r"--model [\w.-]+/([\w.-]+)", r"--model models/\1", "a model of the hub: gigabytes"),
    StandIn(
        r"^(pas train (?!.*--model).*?)( --dry-run)?$",
        r"\1 --model models/demo --layers 1 --strengths 1,4\2",
        "the demo model on its whole grid: minutes",
    ),
    StandIn(r"--accept damaging", "--accept significance", "what a random model fails for sure"),
    StandIn(r"--data-root data\b", "--data-root .", "files as the tests lay them out"),
)

# Programs and commands that are checked and not run: `prefix`, and why.
NOT_RUN = {
    "make": "the targets are the tests themselves, or take minutes",
    "prefect": "needs a team's server; tests/team/test_deployment.py runs them",
    "pas deploy": "needs a team's server; tests/team/test_deployment.py runs it",
    "mlflow": "a server that does not end",
    "python -m benchmarks": "measures for minutes",
    "pas study": "many trainings of the demo model; tests/flows/test_study.py runs one",
    "pas metrics --port": "a server that does not end; tests/flows/cli/test_status.py asks one",
    "pas demo": "tests/flows/test_demo.py runs it",
    "pas serve": "a server that does not end; tests/flows/cli/test_serve.py runs it",
    "pas chat": "waits for what is typed; tests/flows/cli/test_serve.py runs it",
}
# What docs/operations.md asks of a machine, as `NOT_RUN`; these have no options of ours to look up.
ON_MACHINES = {
    "apt-get": "changes the machine",
    "pip": "changes the environment",
    "source .team": "needs `make team`; tests/team/test_installation.py starts the same",
    "docker": "needs a container engine; tests/deploy/test_files.py checks the files",
    "cd deploy": "goes with docker",
    "PAS_IMAGE": "goes with docker",
    "cp deploy/systemd": "changes the machine; tests/deploy/test_files.py checks the units",
    "systemctl": "goes with the units",
    "mkdir -p backup": "tests/team/test_restore.py runs the block",
    "pg_": "tests/team/test_restore.py runs the block",
    "python -c": "tests/team/test_restore.py and tests/team/test_credentials.py do the same",
}
# A random model gives no honest gain: being refused is what promotion is for.
MAY_REFUSE = ("pas promote",)


@pytest.fixture
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name, small ones, and a home of its own."""
    for name in ("demo", "Qwen2.5-7B-Instruct"):
        save_tiny("llama", tmp_path / "models" / name, chat_template=CHATML.text)
    write_made_up(tmp_path)
    shutil.copy(tmp_path / "bbq" / "Age.jsonl", tmp_path / "Age.jsonl")
    shutil.copytree(STUDIES, tmp_path / "studies")
    with (tmp_path / "replies.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["message", "kind", "curt", "right", "template"])
        for i in range(60):
            row = [f"Customer: where is parcel {i}?", f"I am sorry, it is on its way, {i}.", "No."]
            table.writerow([*row, "A" if i % 3 else "B", f"template {i % 15}"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pages_that_are_run_elsewhere_are_run_there() -> None:
    for page, test in ELSEWHERE.items():
        assert page in PAGES and Path(page).name in (ROOT / test).read_text()


@pytest.mark.server
@pytest.mark.whole
def test_every_block_runs_or_is_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in PAGES:
        for block in [] if page in ELSEWHERE else blocks(page):
            try:
                check_block(block, monkeypatch)
            except (AssertionError, SystemExit) as error:
                pytest.fail(f"{page}, line {block.line}: {error}")
    assert [v.name for v in list_versions(settings().open_registry())], "no page trains a vector"


def check_block(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    if block.language == "bash":
        for command in commands(block.text):
            check_command(command, monkeypatch)
    elif block.language == "python":
        run_python(block.text)
    elif block.language == "sql":
        run_pas(["sql", block.text], monkeypatch)
    elif block.language == "yaml":
        file = Path("block.yaml")
        file.write_text(block.text)
        read = read_mapping if block.text.startswith("mapping:") else read_study
        read(file)
    else:
        assert block.language in SHOWN, f"a block in {block.language!r}: say how to check it"
        programs = r"^\s*\$?\s*(pas|prefect|mlflow|make|python|pip) [a-z]"
        assert not re.search(programs, block.text, re.MULTILINE), "commands belong in a bash block"


def check_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command, or check what can be checked of it."""
    for stand_in in STAND_INS:
        command = re.sub(stand_in.pattern, stand_in.replacement, command)
    words = shlex.split(command)
    skipped = next((prefix for prefix in NOT_RUN if f"{command} ".startswith(prefix)), None)
    if command.startswith(tuple(ON_MACHINES)):
        return
    if words[0] == "export":
        assert re.match(r"(PAS|PREFECT|MLFLOW)_[A-Z_]+=", words[1]), command
    elif words[0] == "make":
        for target in words[1:]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    elif words[0] == "pas":
        parse_pas(words[1:])
        if words[1] == "study":
            read_study(Path(words[2]))
        elif skipped is None:
            run_pas(words[1:], monkeypatch)
            if "--dry-run" in words:  # then do what it was about
                run_pas([word for word in words[1:] if word != "--dry-run"], monkeypatch)
    elif skipped is not None:
        check_options(words)
    else:
        pytest.fail(f"{command}: say how to check it")


def run_pas(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pas", *arguments])
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    allowed = (0, 1) if f"pas {arguments[0]}" in MAY_REFUSE else (0,)
    assert code in allowed, f"pas {shlex.join(arguments)}: exit code {code}"


def parse_pas(arguments: list[str]) -> None:
    """Let the command line read the arguments, without running the command."""
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        name, *arguments = arguments
        assert name in command.commands, f"pas has no command {name}"
        command = command.commands[name]
    command.make_context("pas", list(arguments))


def check_options(words: list[str]) -> None:
    """Look a command's options up in its program's own help."""
    at = 3 if words[:2] == ["python", "-m"] else 1
    plain = [word for word in words if word.startswith("-")]
    subcommand = [w for w in words[at:] if re.fullmatch(r"[a-z][a-z-]*", w)]
    text = program_help(tuple(words[:at]), tuple(subcommand))
    for option in plain:
        if option not in ("-m", "--no-prompt"):
            assert option.partition("=")[0] in text, f"{shlex.join(words)}: no option {option}"


@cache
def program_help(program: tuple[str, ...], words: tuple[str, ...]) -> str:
    """The help of the longest subcommand that the words name."""
    start = [sys.executable, "-m", program[0]] if program[0] != "python" else [
        sys.executable, *program[1:]
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    for n in range(len(words), -1, -1):
        done = subprocess.run(
            [*start, *words[:n], "--help"], env=environment, capture_output=True, text=True
        )
        if done.returncode == 0:
            return done.stdout
    pytest.fail(f"{program} {words}: it has no help, {done.stderr[-500:]}")


def run_python(text: str) -> None:
    """Run a snippet on the newest vector, in the places and names that the snippet uses."""
    registry = settings().open_registry()
    newest = max(list_versions(registry), key=lambda version: version.created)
    for folder in re.findall(r'\.load\("([\w-]+)"\)', text):
        load_vector(registry, newest).save(Path(folder))
    text = re.sub(r"models:/pas-[\w.…-]+@champion", f"models:/{newest.name}/{newest.version}", text)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": registry.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with served(text, registry, newest) as text:
        done = subprocess.run(
            [sys.executable, "-c", text], env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def served(text: str, registry: Registry, newest: VectorVersion) -> Iterator[str]:
    """Yield the snippet, with a server that runs if it asks one."""
    if "http://127.0.0.1:8000" not in text:
        yield text
        return
    model = load_model(load_vector(registry, newest).model, settings().cache_dir)
    with serving(model, Vectors(model, registry, {})) as address:
        text = text.replace("http://127.0.0.1:8000", address)
        text = text.replace('model="smollm2-135m-instruct"', 'model="base"')
        yield text.replace("pas-smollm2-135m-instruct-demo", newest.name)
