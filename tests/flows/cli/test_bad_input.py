"""Bad input ends with exit code 2 and a message that names place and remedy; it writes nothing."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.registry.versions import load_vector, resolve
from storage.settings import settings
from tasks import resources
from tests.helpers.bad_inputs import data, mappings, models, options, stores, studies, vectors
from tests.helpers.bad_inputs.case import NAME, Case, Place
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.processes import PATIENCE, environment

pytestmark = [pytest.mark.server, pytest.mark.faults]
LIMIT = 10.0  # seconds of the processor
KINDS = {
    "data": data.CASES,
    "mapping": mappings.CASES,
    "option": options.CASES,
    "model": models.CASES,
    "store": stores.CASES,
    "study": studies.CASES,
    "vector": vectors.CASES,
}
CASES = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}
# In a process of its own a case takes seconds: one of each kind, and what only such a process does.
APART = (
    "data: objects without end",
    "mapping: a mapping file with brackets without end",
    "model: a tokenizer that is cut",
    "option: an unknown option",
    "store: a registry whose database is damaged",
    "store: a home in a file",
    "study: a task whose data are half a character",
    "vector: a prompt with half a character",
)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path
) -> Iterator[dict[str, bytes]]:
    """Every file of a home with a registered vector, by its path below the home."""
    folder = tmp_path_factory.mktemp("trained")
    train = ("train", "--task", "toy", "--data", write_toy(folder / "toy.jsonl"), "--group-col",
             "topic", "--model", tiny_folder, "--layers", "1", "--strengths", "1", "--max-kl",
             "none")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, train)], env=_environment(folder),
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home = folder / "home"
    yield {
        str(file.relative_to(folder)): file.read_bytes()
        for file in home.rglob("*")
        if file.is_file() and "prefect" not in file.parts
    } | {"": os.fsencode(folder)}


def _environment(folder: Path) -> dict[str, str]:
    return environment(folder / "home") | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.fixture
def place(
    trained: dict[str, bytes], tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """The home as it was trained, and an empty folder to stand in."""
    folder = Path(os.fsdecode(trained[""]))
    there = {str(f.relative_to(folder)): f for f in (folder / "home").rglob("*") if f.is_file()}
    for name, file in there.items():
        if name not in trained and "prefect" not in file.parts:
            file.unlink()
    for name, content in trained.items():
        file = folder / name
        if name and not (file.is_file() and file.read_bytes() == content):
            if file.is_dir():
                file.rmdir()
            file.write_bytes(content)
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.chdir(given)
    monkeypatch.setenv("PAS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return Place(given, tiny_folder, folder / "home")


@pytest.fixture
def tried(place: Place, monkeypatch: pytest.MonkeyPatch, pas: Any) -> Callable[[Case], Any]:
    """Run a case in this process."""

    def run(case: Case) -> Any:
        arguments = case.command(place)
        before = _held(place.home)
        for name, value in ({"PAS_HOME": "{home}"} | dict(case.environment)).items():
            monkeypatch.setenv(name, _filled(value, place))
        settings.cache_clear()
        resources.model_info.cache_clear()
        resources.resolved.cache_clear()
        began = time.process_time()
        ran = pas(*(_filled(str(a), place) for a in arguments))
        spent = time.process_time() - began
        assert spent < LIMIT
        _check_unchanged(before, _held(place.home), case)
        return ran

    return run


def _filled(text: str, place: Place) -> str:
    """Name the folders of a place in a text that a table holds."""
    return text.replace("{home}", str(place.home)).replace("{folder}", str(place.folder))


def _held(home: Path) -> dict[str, str]:
    """What a home holds, by file; of MLflow's database its rows, as a lock leaves free pages."""
    held = {}
    for file in home.rglob("*"):
        if not file.is_file() or "prefect" in file.parts or file.name.endswith(("-wal", "-shm")):
            continue
        content = file.read_bytes()
        if file.name == "mlflow.db":
            with closing(sqlite3.connect(file)) as database:
                content = "\n".join(database.iterdump()).encode()
        held[str(file.relative_to(home))] = hashlib.sha256(content).hexdigest()
    return held


def _check_unchanged(before: Mapping[str, str], after: Mapping[str, str], case: Case) -> None:
    changed = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    if case.begins:
        computed = ("lake/stages/", "lake/answers/", "lake/activations/")
        changed = {n for n in changed if not n.startswith(computed)}
    assert changed == set()


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(name: str, tried: Callable[[Case], Any], tally: Any) -> None:
    case = CASES[name]
    tally.add("bad inputs", tried=1)
    assert case.words, "a message is checked"
    ran = tried(case)
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err + ran.out
    message = ran.err[ran.err.index("error:") :] if "error:" in ran.err else ran.err
    assert [word for word in case.words if word not in message] == [], message
    tally.add("bad inputs", handled=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", APART)
def test_it_is_refused_by_a_process_too(name: str, place: Place, tally: Any) -> None:
    case = CASES[name]
    tally.add("bad inputs", tried=1)
    arguments = [_filled(str(a), place) for a in case.command(place)]
    before = _held(place.home)
    given = {k: _filled(v, place) for k, v in case.environment.items()}
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"flows.cli", *map(_argument, arguments)],
        env=_environment(place.home.parent) | given, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 2 and "Traceback" not in said, said
    assert [word for word in case.words if word not in said] == [], said
    _check_unchanged(before, _held(place.home), case)
    tally.add("bad inputs", handled=1)


def _argument(text: str) -> bytes:
    """An argument as a shell hands it over: half a character is bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("name", vectors.GOOD)
def test_an_odd_prompt_is_answered(name: str, tried: Callable[[Case], Any], tally: Any) -> None:
    tally.add("bad inputs", tried=1)
    prompt = vectors.GOOD[name]
    options = ("--strength", "0", "--max-new-tokens", "3", "--json")
    ran = tried(Case(lambda p: ["steer", *options, "--", NAME, prompt], ("",)))
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["prompt"] == prompt
    registry = resources.registry()
    model = resources.model(load_vector(registry, resolve(registry, said["name"])).model)
    own = prompt.removeprefix("<s>")  # the tokenizer puts one there
    ids = model.tokenizer(own, return_tensors="pt")["input_ids"]
    plain = model.model.generate(ids, max_new_tokens=3, do_sample=False)
    expected = model.tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)
    assert said["steered"] == expected
    tally.add("bad inputs", handled=1)
