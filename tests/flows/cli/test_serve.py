"""`pas serve` and `pas chat` as processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from pas.data.chat import Message
from pas.models.loading import LoadedModel
from pas.steering.generate import generate
from pas.steering.vector import SteeringVector
from tests.helpers.places import ROOT
from tests.helpers.running_server import chat_model, vector_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    home = tmp_path_factory.mktemp("served")
    return chat_model(home, ends=False)


@pytest.fixture(scope="module")
def vector(base: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "cheerful"
    vector_of(base).save(folder)
    return folder


def start(home: Path, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PAS_", "MLFLOW_"))}
    environment |= {"PAS_HOME": str(home), "PYTHONPATH": str(ROOT)} | more
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True,
    )  # fmt: skip


@pytest.mark.faults
def test_a_server_drains_on_sigterm(vector: Path, base: LoadedModel, tmp_path: Path) -> None:
    process = start(tmp_path, "serve", str(vector), "--port", "0", PAS_API_KEYS="one, two")
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("  "):
            break
    address = re.search(r"http://127\.0\.0\.1:\d+", "".join(said))
    assert address is not None, said
    assert said[-1] == "  base@cheerful\n"
    body = {
        "model": "base@cheerful*0", "prompt": "It eats", "max_tokens": 200, "temperature": 0,
        "stream": True,
    }  # fmt: skip
    url, headers = f"{address[0]}/v1/completions", {"Authorization": "Bearer two"}
    assert httpx.post(url, json=body).status_code == 401
    with httpx.stream("POST", url, json=body, headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "no new requests are taken" in errors and "Traceback" not in errors
    assert '"status": 200' in errors and "It eats" not in errors
    assert not any(tmp_path.iterdir()), "a server of a folder's vector writes nothing"


@pytest.mark.faults
def test_a_second_signal_ends_it_at_once(vector: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "serve", str(vector), "--port", "0", "--drain", "600")
    assert process.stderr is not None
    said = ""
    while "  base@" not in said:
        said += process.stderr.readline()
    address = re.search(r"http://\S+", said)
    assert address is not None
    body = {"model": "base", "prompt": "It eats", "max_tokens": 900, "stream": True}
    with httpx.stream("POST", f"{address[0]}/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGINT)
        # Two signals that wait at the same time are one.
        while "no new requests" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert process.returncode == 128 + signal.SIGINT


BAD = {
    "no model": (["serve"], "give a vector, whose model is then served, or --model"),
    "no keys": (["serve", "VECTOR", "--host", "0.0.0.0"], "give API keys"),
    "no key file": (["serve", "VECTOR", "--api-keys", "nowhere.txt"], "--api-keys nowhere.txt"),
    "another machine": (["serve", "VECTOR", "--host", "203.0.113.1", "--api-keys", "KEYS"],
                        "--host 203.0.113.1"),
    "no vector": (["chat", "pas-nothing"], "pas-nothing"),
    "no such model": (["serve", "--model", "no/such/model"], "no/such/model"),
}  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str, vector: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("# of the team\nsecret\n")
    arguments, words = BAD[case]
    given = {"VECTOR": str(vector), "KEYS": str(keys)}
    process = start(tmp_path / "home", *(given.get(a, a) for a in arguments), HF_HUB_OFFLINE="1")
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and out == ""
    assert words in errors and "Traceback" not in errors and "secret" not in errors


def test_a_conversation(vector: Path, base: LoadedModel, tmp_path: Path) -> None:
    lines = [
        "Why?", "/strength -2", "/vector nobody", "/compare", "And then?", "/compare", "/off",
        "/strength much", "/reset", "Why?", "/help", "/nonsense", "",
    ]  # fmt: skip
    process = start(tmp_path, "chat", str(vector), "--max-new-tokens", "6")
    out, errors = process.communicate("\n".join(lines), timeout=120)
    assert process.returncode == 0, errors
    loaded = SteeringVector.load(vector)

    def answer(messages: list[Message], strength: float) -> str:
        text = generate(base, messages, loaded, strength=strength, max_new_tokens=6)
        return text.lstrip()

    def talk(*texts: str) -> list[Message]:
        roles = ["user", "assistant"] * len(texts)
        return [Message(role=r, content=t) for r, t in zip(roles, texts, strict=False)]

    first = answer(talk("Why?"), 3.0)
    again = talk("Why?", first, "And then?")
    expected = [first, answer(again, 0.0), answer(again, -2.0), answer(talk("Why?"), 0.0)]
    assert out == "".join(f"{text}\n" for text in expected)
    assert len(set(expected)) == 4
    for words in (
        "cheerful, strength 3", "cheerful, strength -2", "[off]", "[on]", "cheerful off",
        "'much' is no number", "not offered here", "/nonsense: no such command", "/compare  ",
    ):  # fmt: skip
        assert words in errors
