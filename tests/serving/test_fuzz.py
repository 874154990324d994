"""Any body is answered by text or a refusal, never by a fault of the server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pas.steering.intervention import interventions_of
from serving.prompts import Limits
from serving.vectors import Vectors
from tests.helpers.running_server import chat_model, serving, vector_of

pytestmark = pytest.mark.faults

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
NUMBER = st.integers(-2, 9) | st.floats(allow_nan=False, allow_infinity=False) | JSON
MODEL = st.sampled_from(["base", "base@one", "base@one*2", "base@one*1e300", "base@", "base@two"])
STEERING = st.fixed_dictionaries(
    {"vector": st.sampled_from(["one", "two"]) | st.text(max_size=9)},
    optional={
        "strength": NUMBER | st.just("auto"),
        "positions": st.sampled_from(["all", "prompt", "first:2", "first:0"]) | JSON,
        "operation": st.sampled_from(["add", "ablate", "clamp", "add-keep-norm"]) | JSON,
        "other": JSON,
    },
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 3) | NUMBER,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "n": NUMBER,
    "seed": NUMBER,
    "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3) | JSON,
    "stream": st.booleans() | JSON,
    "steering": st.lists(STEERING, max_size=3) | JSON,
    "logprobs": st.booleans() | NUMBER,
    "tools": JSON,
    "user": JSON,
}
PROMPT = st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=2) | st.lists(
    st.integers(-1, 500), max_size=4
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "system", "assistant", "tool"]),
        "content": st.text(max_size=9) | JSON,
    }
)
ALLOWED = {200, 400, 404, 413, 429}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home: Path = tmp_path_factory.mktemp("fuzz")
    base = chat_model(home)
    vector = vector_of(base)
    vectors = Vectors(base, None, {"one": interventions_of(vector)})
    limits = Limits(new_tokens=8, sequences=4)
    with serving(base, vectors, limits=limits) as address, httpx.Client(base_url=address) as client:
        yield client
        # After all of that it answers as before.
        body = {"model": "base@one", "prompt": "It eats", "max_tokens": 2}
        assert client.post("/v1/completions", json=body).status_code == 200


def check(client: httpx.Client, path: str, content: bytes) -> None:
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in ALLOWED, (answer.status_code, content, answer.text)
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n") or '"error"' in answer.text
    else:
        choices = answer.json().get("choices", [])
        assert all(choice["finish_reason"] in ("stop", "length") for choice in choices)


fuzzed = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fuzzed
@given(st.fixed_dictionaries({"model": MODEL, "prompt": PROMPT}, optional=COMMON))
def test_completions(client: httpx.Client, body: dict[str, Any]) -> None:
    check(client, "/v1/completions", json.dumps(body).encode())


@fuzzed
@given(
    st.fixed_dictionaries(
        {"model": MODEL, "messages": st.lists(MESSAGE, max_size=3)},
        optional=COMMON | {"max_completion_tokens": NUMBER, "top_logprobs": NUMBER},
    )
)
def test_chat_completions(client: httpx.Client, body: dict[str, Any]) -> None:
    check(client, "/v1/chat/completions", json.dumps(body).encode())


@fuzzed
@given(
    st.sampled_from(["/v1/completions", "/v1/chat/completions", "/v1/read"]),
    JSON | st.binary(max_size=20),
)
def test_anything(client: httpx.Client, path: str, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    check(client, path, content)


@fuzzed
@given(
    st.fixed_dictionaries({"vector": st.sampled_from(["one", "two"]), "text": st.text(max_size=20)})
)
def test_readings(client: httpx.Client, body: dict[str, Any]) -> None:
    check(client, "/v1/read", json.dumps(body).encode())
