"""The server, asked by OpenAI's own client and by plain HTTP."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pyarrow as pa
import pytest

from pas.data.chat import Message
from pas.models.loading import LoadedModel, load_model
from pas.steering.generate import generate
from pas.steering.intervention import Composition, Intervention
from pas.steering.vector import SteeringVector
from serving.prompts import Limits
from serving.vectors import Vectors
from storage.registry.promotion import promote
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.settings import Registry
from tests.helpers.running_server import chat_model, serving, vector_of
from tests.helpers.tiny_models import toy_questions

NAME = "pas-tiny-toy"
PROMPT = toy_questions(1)[0]["question"]
TALK = [{"role": "user", "content": "What does the heron eat?"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def base(home: Path) -> LoadedModel:
    return chat_model(home)


@pytest.fixture(scope="module")
def endless(home: Path, base: LoadedModel) -> LoadedModel:
    """The same model without an end token, so that it generates as long as it may."""
    model = load_model(base.spec, home / "cache")
    model.model.generation_config.eos_token_id = None
    return model


def log(registry: Registry, vector: SteeringVector, name: str = NAME) -> int:
    with open_run(registry, experiment="serving", run_name=name) as run_id:
        data = TrainingData("toy", "built in", "0" * 32, pa.table({"id": ["a"]}))
        return log_training(
            registry, run_id, TrainingRecord(vector, data, PROMPT, name, {})
        ).version


@pytest.fixture(scope="module")
def registry(home: Path, base: LoadedModel) -> Registry:
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    promote(registry, NAME, log(registry, vector_of(base, 0)))
    return registry


@pytest.fixture(scope="module")
def vectors(registry: Registry, base: LoadedModel) -> Vectors:
    both = Composition((Intervention(vector_of(base, 2)), Intervention(vector_of(base, 3), -1.0)))
    alone = Composition((Intervention(vector_of(base, 4)),))
    return Vectors(base, registry, {"two": both, "four": alone})


@pytest.fixture(scope="module")
def address(base: LoadedModel, vectors: Vectors) -> Iterator[str]:
    limits = Limits(prompt_tokens=100, new_tokens=900, sequences=8, vectors=2)
    with serving(base, vectors, limits=limits, body_limit=20_000) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def test_text_is_what_the_library_generates(client: openai.OpenAI, base: LoadedModel) -> None:
    vector = vector_of(base, 0)
    expected = {
        "base": generate(base, PROMPT, None, max_new_tokens=8),
        f"base@{NAME}@champion": generate(base, PROMPT, vector, max_new_tokens=8),
        f"base@{NAME}*-1.5": generate(base, PROMPT, vector, strength=-1.5, max_new_tokens=8),
        f"base@{NAME}:1*0": generate(base, PROMPT, None, max_new_tokens=8),
    }
    assert len(set(expected.values())) == 3
    for model, text in expected.items():
        answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
        assert answer.choices[0].text == text
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None and answer.usage.completion_tokens == 8
    made = answer.to_dict()
    assert made["steering"] == [{"vector": NAME, "version": 1, "strength": 0.0}]


def test_a_chat_that_streams_with_two_vectors_at_once(
    client: openai.OpenAI, base: LoadedModel
) -> None:
    steering = [
        {"vector": f"{NAME}@champion", "strength": 1.5},
        {"vector": "four", "strength": 0.5, "positions": "first:4"},
    ]
    both = Composition(
        (
            Intervention(vector_of(base, 0), 1.5),
            Intervention(vector_of(base, 4), 0.5, "first:4"),
        )
    )
    talk: list[Message] = [Message(role="user", content=TALK[0]["content"])]
    expected = generate(base, talk, both, max_new_tokens=10)
    stream = client.chat.completions.create(
        model="base", messages=TALK, max_tokens=10, temperature=0, stream=True,  # type: ignore
        stream_options={"include_usage": True}, extra_body={"steering": steering},
    )  # fmt: skip
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == expected
    assert expected != generate(base, talk, None, max_new_tokens=10)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 10
    assert [s["version"] for s in chunks[0].to_dict()["steering"]] == [1, None]
    whole = client.chat.completions.create(
        model=f"base@{NAME}*1.5+four*0.5",
        messages=TALK,
        max_tokens=4,
        temperature=0,  # type: ignore
    )
    assert whole.choices[0].message.role == "assistant"
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == chunks[-1].usage.prompt_tokens > 10


def test_a_composition_is_scaled(client: openai.OpenAI, base: LoadedModel) -> None:
    both = Composition((Intervention(vector_of(base, 2)), Intervention(vector_of(base, 3), -1.0)))
    answer = client.completions.create(
        model="base@two*0.5", prompt=PROMPT, max_tokens=8, temperature=0
    )
    assert answer.choices[0].text == generate(base, PROMPT, both.scaled(0.5), max_new_tokens=8)


def test_samples_stops_and_log_probabilities(client: openai.OpenAI) -> None:
    def ask(**options: Any) -> Any:
        settings: dict[str, Any] = {"model": "base", "prompt": PROMPT, "max_tokens": 12} | options
        return client.completions.create(**settings)

    drawn = [choice.text for choice in ask(n=4, seed=3).choices]
    assert drawn == [choice.text for choice in ask(n=4, seed=3).choices] != [drawn[0]] * 4
    assert [choice.text for choice in ask(n=4, seed=4, top_p=1e-6).choices] == [
        ask(temperature=0).choices[0].text
    ] * 4
    whole = ask(temperature=0).choices[0]
    stop = whole.text[4:6]
    cut = ask(temperature=0, stop=stop).choices[0]
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    told = ask(temperature=0, logprobs=3).choices[0].logprobs
    assert "".join(told.tokens) == whole.text
    for token, value, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert len(top) <= 3 and max(top.values()) <= value  # parts of characters look alike
        assert token.endswith("\ufffd") or top[token] == value
    two = ask(prompt=[PROMPT, "It eats"], temperature=0).choices
    assert [c.text for c in two] == [
        whole.text,
        ask(prompt="It eats", temperature=0).choices[0].text,
    ]
    ids = ask(prompt=[3, 4, 5], temperature=0)
    assert ids.usage.prompt_tokens == 3


def test_models_and_readings(client: openai.OpenAI, address: str, base: LoadedModel) -> None:
    assert {model.id for model in client.models.list()} == {
        "base", "base@two", "base@four", f"base@{NAME}@champion",
    }  # fmt: skip
    body = {"vector": f"{NAME}:1", "text": PROMPT}
    found = httpx.post(f"{address}/v1/read", json=body).json()
    [reading] = vector_of(base, 0).read(base, [PROMPT])
    assert found["tokens"] == list(reading.tokens)
    assert np.allclose(found["values"], reading.values, atol=1e-4)
    assert found["vector"] == f"{NAME}:1"
    long = httpx.post(f"{address}/v1/read", json=body | {"text": "It eats. " * 200})
    assert long.status_code == 413 and "at most 100" in long.json()["error"]["message"]


def test_a_promotion_is_picked_up_and_requests_end_as_they_began(
    registry: Registry, base: LoadedModel
) -> None:
    vectors = Vectors(base, registry, {})
    vectors.watch(0.2)
    new = vector_of(base, 8, strength=-2.0)
    limits = Limits(new_tokens=900)
    with serving(base, vectors, limits=limits) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        options: dict[str, Any] = {"prompt": PROMPT, "temperature": 0, "max_tokens": 600}
        model = f"base@{NAME}@champion"
        before = client.completions.create(model=model, **options).to_dict()
        stream = client.completions.create(model=model, stream=True, **options)
        first = next(iter(stream)).to_dict()
        promote(registry, NAME, log(registry, new))
        until = time.monotonic() + 30
        while vectors.find(f"{NAME}@champion").version == 1 and time.monotonic() < until:
            time.sleep(0.05)
        after = client.completions.create(model=model, **options).to_dict()
        text = first["choices"][0]["text"] + "".join(chunk.choices[0].text for chunk in stream)
        assert text == before["choices"][0]["text"]
        assert [s["version"] for s in before["steering"] + after["steering"]] == [1, 2]
        expected = generate(base, PROMPT, new, max_new_tokens=600)
        assert after["choices"][0]["text"] == expected
        # The versions that were replaced can still be asked for.
        old = client.completions.create(model=f"base@{NAME}@previous", **options).to_dict()
        assert old["choices"][0]["text"] == before["choices"][0]["text"]


def test_a_registry_that_does_not_answer(base: LoadedModel, tmp_path: Path) -> None:
    own = Registry(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    promote(own, NAME, log(own, vector_of(base)))
    vectors = Vectors(base, own, {})
    known = vectors.find(NAME)
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    vectors.refresh()
    assert vectors.error and vectors.find(NAME) is known


BAD = {
    "no body": (None, 400, ""),
    "no prompt": ({"model": "base"}, 400, "prompt: Field required"),
    "another model": ({"model": "gpt-4", "prompt": "a"}, 404, "model 'gpt-4' is not served here"),
    "another vector": ({"model": "base@pas-x", "prompt": "a"}, 404, "vector pas-x: no such name"),
    "no such version": ({"model": f"base@{NAME}:9", "prompt": "a"}, 404, "has no version 9"),
    "a strength in words": ({"model": f"base@{NAME}*much", "prompt": "a"}, 400, "with a strength"),
    "an infinite strength": ({"model": f"base@{NAME}*1e999", "prompt": "a"}, 400, "a strength"),
    "empty vector": ({"model": f"base@{NAME}++", "prompt": "a"}, 400, "is not a vector"),
    "negative length": ({"model": "base", "prompt": "a", "max_tokens": 0}, 400, "max_tokens"),
    "temperature": ({"model": "base", "prompt": "a", "temperature": -1}, 400, "temperature"),
    "empty prompt": ({"model": "base", "prompt": ""}, 400, "the prompt is empty"),
    "no prompts": ({"model": "base", "prompt": []}, 400, "the prompt is empty"),
    "token ids": ({"model": "base", "prompt": [9999]}, 400, "token ids must be from 0"),
    "mixed prompts": ({"model": "base", "prompt": ["a", 3]}, 400, "prompt"),
    "tools": ({"model": "base", "prompt": "a", "tools": [{}]}, 400, "tools: not supported"),
    "unknown field": ({"model": "base", "prompt": "a", "top_q": 1}, 400, "top_q: unknown field"),
    "unknown position": (
        {"model": "base", "prompt": "a", "steering": [{"vector": NAME, "positions": "last"}]},
        400, "positions 'last'",
    ),
    "unknown operation": (
        {"model": "base", "prompt": "a", "steering": [{"vector": NAME, "operation": "mul"}]},
        400, "operation",
    ),
    "a nan": (
        {"model": "base", "prompt": "a", "steering": [{"vector": NAME, "strength": "nan"}]},
        400, "strength",
    ),
    "empty stop": ({"model": "base", "prompt": "a", "stop": [""]}, 400, "stop"),
    "too many vectors": ({"model": "base@four+four+four", "prompt": "a"}, 413, "3 vectors"),
    "too many samples": ({"model": "base", "prompt": "a", "n": 9}, 413, "at most 8"),
    "too long": ({"model": "base", "prompt": "a " * 300}, 413, "at most 100"),
    "too much": ({"model": "base", "prompt": "a", "max_tokens": 901}, 413, "at most 900"),
    "too large": ({"model": "base", "prompt": "a" * 30_000}, 413, "larger than 20000 bytes"),
    "overflow": ({"model": f"base@{NAME}*1e39", "prompt": "a"}, 400, "overflows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(address: str, case: str) -> None:
    body, status, words = BAD[case]
    content = b"{" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{address}/v1/completions", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert words in error["message"] and error["type"].endswith("_error")


def test_bad_chats(address: str) -> None:
    def ask(**body: Any) -> httpx.Response:
        return httpx.post(f"{address}/v1/chat/completions", json={"model": "base"} | body)

    for body, words in (
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content"),
        ({"messages": TALK, "top_logprobs": 3}, "set logprobs to true"),
        ({"messages": TALK, "response_format": {"type": "json_object"}}, "not supported"),
    ):
        answer = ask(**body)
        assert answer.status_code == 400 and words in answer.json()["error"]["message"]
    parts = [{"role": "user", "content": [{"type": "text", "text": TALK[0]["content"]}]}]
    options = {"temperature": 0, "max_tokens": 5, "user": "me"}
    same = [ask(messages=m, **options).json()["choices"][0]["message"] for m in (parts, TALK)]
    assert same[0] == same[1]


def test_a_body_without_a_length_is_counted(address: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{address}/v1/completions", content=chunks(), headers=headers)
    assert answer.status_code == 413


def test_keys(base: LoadedModel, vectors: Vectors) -> None:
    with serving(base, vectors, keys=("first", "second")) as address:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer third"}, 401),
            ({"Authorization": "Bearer"}, 401),
            ({"Authorization": "Basic first"}, 401),
            ({"Authorization": "Bearer first"}, 200),
            ({"Authorization": "bearer second"}, 200),
        ):
            for path in ("/v1/models", "/metrics"):
                assert httpx.get(address + path, headers=headers).status_code == status
        for path in ("/", "/healthz", "/readyz"):
            assert httpx.get(address + path).status_code == 200
        with pytest.raises(openai.AuthenticationError, match="give an API key"):
            openai.OpenAI(base_url=f"{address}/v1", api_key="third").models.list()


def test_many_at_once_lose_none_and_more_than_may_wait_are_told(
    base: LoadedModel, vectors: Vectors
) -> None:
    models = ["base", f"base@{NAME}:1", "base@four*2", f"base@{NAME}:1*-1+four"]

    async def ask(address: str, count: int, **options: Any) -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        settings: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 6, "temperature": 0} | options
        asked = [
            client.completions.create(model=models[n % len(models)], **settings)
            for n in range(count)
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    with serving(base, vectors, batch_size=16, queue_size=256) as address:
        answers = asyncio.run(ask(address, 200))
        texts = [answer.choices[0].text for answer in answers]
        assert all(texts[n] == texts[n % 4] for n in range(200)) and len(set(texts)) == 4
        told = httpx.get(f"{address}/metrics").text
        assert (
            'pas_serve_requests_total{endpoint="completions",status="200",vector="none"} 50' in told
        )
        assert "pas_serve_running 0.0" in told and "pas_serve_waiting 0.0" in told
    with serving(base, vectors, batch_size=2, queue_size=3) as address:
        answers = asyncio.run(ask(address, 40, max_tokens=60))
        busy = [a for a in answers if isinstance(a, openai.RateLimitError)]
        done = [a for a in answers if not isinstance(a, Exception)]
        assert len(busy) + len(done) == 40 and len(busy) > 10 and len(done) >= 5
        assert "wait already" in str(busy[0])


def test_a_client_that_goes_frees_its_place(endless: LoadedModel, vectors: Vectors) -> None:
    body = {"model": "base", "prompt": "It eats", "max_tokens": 900, "temperature": 0}
    with serving(endless, vectors, batch_size=1, limits=Limits(new_tokens=1000)) as address:

        def running() -> bool:
            return "pas_serve_running 1.0" in httpx.get(f"{address}/metrics").text

        def wait(wanted: bool) -> None:
            until = time.monotonic() + 30
            while running() is not wanted and time.monotonic() < until:
                time.sleep(0.02)
            assert running() is wanted

        with httpx.stream("POST", f"{address}/v1/completions", json=body | {"stream": True}) as got:
            lines = got.iter_lines()  # which closes the stream when nobody holds it
            assert next(lines).startswith("data: ") and running()
        wait(False)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/completions", json=body, timeout=0.3)
        wait(False)
        told = httpx.get(f"{address}/metrics").text
        assert 'status="499"' in told


def test_the_log_has_no_text(
    address: str, client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pas.access"):
        secret = "The badger sat by the mill"
        answer = client.completions.create(model=f"base@{NAME}:1", prompt=secret, max_tokens=5)
    [line] = [json.loads(r.getMessage()) for r in caplog.records if r.name == "pas.access"]
    assert answer.usage is not None and line["vector"] == f"{NAME}:1"
    # A sampled text may end early: the log has what the client was told.
    assert line["generated_tokens"] == answer.usage.completion_tokens > 0
    assert line["status"] == 200 and line["seconds"] > 0
    assert "badger" not in caplog.text


def test_requests_that_have_begun_are_answered_before_the_end(
    endless: LoadedModel, vectors: Vectors
) -> None:
    body = {"model": "base", "prompt": "It eats", "max_tokens": 300, "temperature": 0}
    answers: list[httpx.Response] = []
    with serving(endless, vectors) as address:
        ask = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{address}/v1/completions", json=body, timeout=60)
            )
        )
        ask.start()
        while "pas_serve_running 1.0" not in httpx.get(f"{address}/metrics").text:
            time.sleep(0.01)
    ask.join()
    assert answers[0].status_code == 200
    assert answers[0].json()["usage"]["completion_tokens"] == 300
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz")
