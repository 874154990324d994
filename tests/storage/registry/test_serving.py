"""A registered vector served by MLflow: real weights, real generation, per-request control."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException

from pas.data.chat import PLAIN, prompt_style
from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from pas.steering.generate import generate
from pas.steering.vector import SteeringVector
from storage.registry.client import client
from storage.registry.promotion import promote
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.registry.versions import resolve
from storage.settings import Registry
from tests.helpers import oracle
from tests.helpers.chat_templates import CHATML
from tests.helpers.tiny_models import D_MODEL, save_tiny

NAME = "pas-tiny-toy"
PROMPTS = ["Where does the heron sleep?", "It eats"]
N_TOKENS = 8


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def base(home: Path) -> LoadedModel:
    spec = ModelSpec(str(save_tiny("llama", home / "base")), device="cpu")
    return load_model(spec, home / "cache")


def a_vector(base: LoadedModel, width: int = D_MODEL) -> SteeringVector:
    direction = np.random.default_rng(0).normal(size=width).astype(np.float32)
    return SteeringVector(
        direction=direction, layer=1, site="residual", strength=3.0, method="PASf",
        model=base.spec, fingerprint=base.fingerprint, task="toy",
    )  # fmt: skip


def log(registry: Registry, name: str, vector: SteeringVector) -> None:
    with open_run(registry, experiment="serving", run_name=name) as run_id:
        data = TrainingData("toy", "built in", "0" * 32, pa.table({"id": ["a"]}))
        record = TrainingRecord(vector, data, PROMPTS[0], name, {})
        made = log_training(registry, run_id, record)
    promote(registry, name, made.version)


@pytest.fixture(scope="module")
def registry(home: Path, base: LoadedModel) -> Registry:
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    log(registry, NAME, a_vector(base))
    return registry


@pytest.fixture
def serve(registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load a champion as any user of MLflow would."""
    import mlflow  # not before storage.tracking has switched its telemetry off

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow puts the model's code in front
    config = {"cache_dir": str(home / "cache")}
    return lambda name: mlflow.pyfunc.load_model(f"models:/{name}@champion", model_config=config)


def test_each_request_sets_strength_or_switches_off(serve: Any, base: LoadedModel) -> None:
    served = serve(NAME)

    def ask(**params: Any) -> list[str]:
        frame = pd.DataFrame({"prompt": PROMPTS})
        return list(served.predict(frame, params={"max_new_tokens": N_TOKENS} | params))

    def expect(vector: SteeringVector | None, strength: float | None = None) -> list[str]:
        options: dict[str, Any] = {"strength": strength, "max_new_tokens": N_TOKENS}
        return [generate(base, prompt, vector, **options) for prompt in PROMPTS]

    vector = a_vector(base)
    unsteered, steered, reversed_ = expect(None), expect(vector), expect(vector, -3.0)
    assert len({tuple(unsteered), tuple(steered), tuple(reversed_)}) == 3
    assert ask() == steered
    assert ask(enabled=False) == unsteered
    assert ask(strength=0.0) == unsteered
    assert ask(strength=-3.0) == reversed_
    assert ask(enabled=False, strength=-3.0) == unsteered
    assert ask() == steered  # a request leaves nothing behind


def test_samples_and_streams(serve: Any, base: LoadedModel) -> None:
    served = serve(NAME)
    params = {"max_new_tokens": N_TOKENS, "temperature": 1.0, "top_p": 0.95, "seed": 3}
    drawn = served.predict(PROMPTS, params=params)
    assert drawn == served.predict(PROMPTS, params=params)
    assert drawn != served.predict(PROMPTS, params=params | {"seed": 4})
    assert drawn[0] != served.predict(PROMPTS, params={"max_new_tokens": N_TOKENS})[0]
    # Every prompt has a seed of its own, so the same prompt twice is drawn twice.
    assert len(set(served.predict([PROMPTS[0]] * 4, params=params))) > 1
    pieces = list(served.predict_stream([PROMPTS[0]], params={"max_new_tokens": N_TOKENS}))
    expected = generate(base, PROMPTS[0], a_vector(base), max_new_tokens=N_TOKENS)
    assert "".join(pieces) == expected and len(pieces) > 2
    with pytest.raises(MlflowException, match="requires single input"):
        list(served.predict_stream(PROMPTS * 2))
    for wrong, words in (({"temperature": -1.0}, "temperature"), ({"top_p": 0.0}, "top_p")):
        with pytest.raises(MlflowException, match=words):
            served.predict(PROMPTS, params=wrong)


def test_a_request_is_a_list_or_has_a_column_prompt(serve: Any, base: LoadedModel) -> None:
    served = serve(NAME)
    expected = [generate(base, p, a_vector(base), max_new_tokens=N_TOKENS) for p in PROMPTS]
    frame = pd.DataFrame({"id": ["x", "y"], "prompt": PROMPTS})
    for request in (PROMPTS, np.array(PROMPTS), frame, frame["prompt"], {"prompt": PROMPTS}):
        assert list(served.predict(request, params={"max_new_tokens": N_TOKENS})) == expected
    assert served.predict(PROMPTS[0], params={"max_new_tokens": N_TOKENS}) == expected[:1]
    with pytest.raises(
        MlflowException, match="a column `prompt` or `messages`; the columns here are: id"
    ):
        served.predict(frame[["id"]])
    with pytest.raises(MlflowException, match="text, not int: 7"):
        served.predict(["x", 7])


def test_a_scoring_server_takes_the_same_requests(serve: Any, base: LoadedModel) -> None:
    from mlflow.pyfunc import scoring_server

    expected = [generate(base, p, a_vector(base), max_new_tokens=N_TOKENS) for p in PROMPTS]
    table = {"columns": ["id", "prompt"], "data": [["x", PROMPTS[0]], ["y", PROMPTS[1]]]}
    server = TestClient(scoring_server.init(serve(NAME)))
    for request in (
        {"inputs": PROMPTS},
        {"inputs": {"prompt": PROMPTS}},
        {"instances": PROMPTS},
        {"dataframe_split": table},
        {"dataframe_records": [{"prompt": prompt} for prompt in PROMPTS]},
    ):
        body = request | {"params": {"max_new_tokens": N_TOKENS}}
        answer = server.post("/invocations", json=body)
        assert (answer.status_code, answer.json()) == (200, {"predictions": expected}), request
    refused = server.post("/invocations", json={"inputs": {"text": PROMPTS}})
    assert refused.status_code == 400 and "column `prompt`" in refused.text


def test_an_answer_says_which_version_gave_it(
    serve: Any, registry: Registry, base: LoadedModel
) -> None:
    from mlflow.pyfunc import scoring_server

    server, version = TestClient(scoring_server.init(serve(NAME))), resolve(registry, NAME)
    for strength, used in ((None, 3.0), (0.5, 0.5)):
        params = {"max_new_tokens": N_TOKENS, "describe": True}
        params |= {} if strength is None else {"strength": strength}
        answer = server.post("/invocations", json={"inputs": PROMPTS[:1], "params": params})
        text = generate(base, PROMPTS[0], a_vector(base), strength=used, max_new_tokens=N_TOKENS)
        assert answer.json()["predictions"] == [
            {"text": text, "vector": NAME, "version": 1, "run_id": version.run_id,
             "model": base.spec.id, "method": "PASf", "layer": 1, "strength": used}
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "params", "message"),
    [
        ([" "], {}, "the prompt is empty"),
        ([""], {}, "the prompt is empty"),
        (PROMPTS, {"strength": float("nan")}, "strength nan: give a finite number"),
        (PROMPTS, {"strength": float("inf")}, "strength inf: give a finite number"),
        (PROMPTS, {"strength": "much"}, "strength"),
        (PROMPTS, {"max_new_tokens": 0}, "max_new_tokens 0: give 1 or more"),
    ],
)
def test_what_cannot_be_answered_is_a_clear_refusal(
    serve: Any, inputs: list[str], params: dict[str, Any], message: str
) -> None:
    from mlflow.pyfunc import scoring_server

    server = TestClient(scoring_server.init(serve(NAME)))
    body = json.dumps({"inputs": inputs, "params": params})  # with NaN, as Python's clients send
    headers = {"content-type": "application/json"}
    refused = server.post("/invocations", content=body, headers=headers)
    assert refused.status_code == 400 and message in refused.json()["message"]
    assert "stack_trace" not in refused.json() and "Traceback" not in refused.text


@contextmanager
def sizes_of_batches(model: LoadedModel) -> Iterator[list[int]]:
    """Yield a list that gets the number of sequences of every forward call."""
    sizes: list[int] = []
    watch = model.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: sizes.append(len(given[0]))
    )
    try:
        yield sizes
    finally:
        watch.remove()


@pytest.mark.parametrize("others", [[], [" "]])
def test_requests_that_wait_at_the_same_time_run_together(
    serve: Any, base: LoadedModel, others: list[str]
) -> None:
    served = serve(NAME)
    model = served.unwrap_python_model().model
    prompts = [f"{PROMPTS[i % 2]} {i}" for i in range(20)]

    def ask(prompt: str, **params: Any) -> Any:
        try:
            return served.predict([prompt], params={"max_new_tokens": N_TOKENS} | params)[0]
        except MlflowException as error:
            return str(error)

    with sizes_of_batches(model) as sizes, ThreadPoolExecutor(24) as pool:
        with model.lock:  # the model is at work
            requests = [pool.submit(ask, prompt) for prompt in [*prompts, *others]]
            requests.append(pool.submit(ask, prompts[0], enabled=False))
            while not all(request.running() or request.done() for request in requests):
                time.sleep(0.01)
            time.sleep(0.5)
        *answers, unsteered = [request.result() for request in requests]
    expected = [generate(base, p, a_vector(base), max_new_tokens=N_TOKENS) for p in prompts]
    assert answers[:20] == expected
    assert all("the prompt is empty" in answer for answer in answers[20:])
    assert unsteered == generate(base, prompts[0], None, max_new_tokens=N_TOKENS)
    # The first runs alone and the unsteered one too; with the empty one in it, a batch is refused.
    assert others or (max(sizes) == 16 and len(sizes) <= 4 * N_TOKENS)


@pytest.fixture(scope="module")
def chatty(home: Path, registry: Registry) -> tuple[LoadedModel, SteeringVector]:
    """A chat model and its vector, registered as `pas-tiny-chat`."""
    folder = save_tiny("llama", home / "chat", chat_template=CHATML.text)
    model = load_model(ModelSpec(str(folder), device="cpu"), home / "cache")
    vector = replace(a_vector(model), prompt=prompt_style(model.info, "chat", "Be brief."))
    log(registry, "pas-tiny-chat", vector)
    return model, vector


def test_texts_and_conversations_are_rendered_as_in_training(
    serve: Any, chatty: tuple[LoadedModel, SteeringVector]
) -> None:
    model, vector = chatty
    served, options = serve("pas-tiny-chat"), {"max_new_tokens": N_TOKENS}
    conversations = [
        [{"role": "user", "content": PROMPTS[0]}],
        [{"role": "user", "content": PROMPTS[1]}, {"role": "assistant", "content": "clover"},
         {"role": "user", "content": PROMPTS[0]}],
    ]  # fmt: skip
    said = oracle.Chat(model.tokenizer, CHATML.text, "Be brief.")
    opened = [
        oracle.chat_text(said, PROMPTS[0]),
        oracle.chat_text(said, PROMPTS[0], ((PROMPTS[1], "clover"),)),
    ]
    plain = replace(vector, prompt=PLAIN)
    steered = [generate(model, text, plain, **options) for text in opened]
    unsteered = [generate(model, text, None, **options) for text in opened]
    assert steered != unsteered
    frame = pd.DataFrame({"messages": conversations})
    for request in (frame, {"messages": conversations}):
        assert list(served.predict(request, params=options)) == steered
        off = options | {"enabled": False}
        assert list(served.predict(request, params=off)) == unsteered
    assert list(served.predict(PROMPTS[:1], params=options)) == steered[:1]
    assert list(served.predict({"messages": conversations[1]}, params=options)) == steered[1:]
    for wrong, message in (
        ({"messages": [["hello"]]}, "message 1 needs role and content"),
        ({"messages": [3]}, "int"),
        ({"messages": conversations, "prompt": PROMPTS}, "`prompt` or `messages`; the columns"),
        ([" "], "the prompt is empty"),
    ):
        with pytest.raises(MlflowException, match=message):
            served.predict(wrong)


def test_a_scoring_server_takes_conversations(
    serve: Any, chatty: tuple[LoadedModel, SteeringVector]
) -> None:
    from mlflow.pyfunc import scoring_server

    model, vector = chatty
    messages = [{"role": "user", "content": PROMPTS[0]}]
    expected = [generate(model, PROMPTS[0], vector, max_new_tokens=N_TOKENS)]
    server = TestClient(scoring_server.init(serve("pas-tiny-chat")))
    for request in (
        {"inputs": {"messages": [messages]}},
        {"inputs": PROMPTS[:1]},
        {"dataframe_records": [{"messages": messages}]},
        {"dataframe_split": {"columns": ["messages"], "data": [[messages]]}},
    ):
        answer = server.post(
            "/invocations", json=request | {"params": {"max_new_tokens": N_TOKENS}}
        )
        assert (answer.status_code, answer.json()) == (200, {"predictions": expected}), request
    refused = server.post("/invocations", json={"inputs": {"messages": [["hello"]]}})
    assert refused.status_code == 400 and "role and content" in refused.text


def test_the_base_model_is_referenced_not_copied(registry: Registry, home: Path) -> None:
    for file in (home / "artifacts").rglob("MLmodel"):
        folder = file.parent
        steering = json.loads((folder / "artifacts/vector/steering.json").read_text())
        if steering["model"]["id"] == str(home / "base"):
            break
    assert [file.name for file in folder.rglob("*.safetensors")] == ["vector.safetensors"]
    assert steering["model"]["id"] == str(home / "base")
    pins = (folder / "requirements.txt").read_text().split()
    assert all("==" in pin and "+" not in pin for pin in pins)
    assert {"torch", "transformers", "mlflow"} <= {pin.split("==")[0] for pin in pins}
    assert (folder / "code/pas/steering/generate.py").is_file()


def test_a_vector_of_another_width_is_refused(
    registry: Registry, base: LoadedModel, serve: Any
) -> None:
    log(registry, "pas-tiny-wide", a_vector(base, width=D_MODEL + 1))
    with pytest.raises(UserError, match=f"{D_MODEL} dimensions, the vector {D_MODEL + 1}"):
        serve("pas-tiny-wide")


@pytest.mark.parametrize(("variable", "below"), [("PAS_CACHE_DIR", ""), ("XDG_CACHE_HOME", "pas")])
def test_converted_models_are_where_the_rest_has_them(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PAS_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert list((tmp_path / below).iterdir())


OTHER = "pas-tiny-other"


@pytest.fixture(scope="module")
def other_code(registry: Registry, base: LoadedModel) -> Registry:
    """A second vector, `OTHER`, whose packed code answers in capitals."""
    log(registry, OTHER, replace(a_vector(base), task="other"))
    store, version = client(registry), resolve(registry, OTHER)
    place = store.get_model_version_download_uri(OTHER, str(version.version))
    code = Path(unquote(urlsplit(place).path)) / "code" / "pas" / "data" / "text.py"
    text = code.read_text()
    assert text.count("        return released\n") == 2
    code.write_text(text.replace("return released\n", "return released.upper()\n"))
    return registry


def test_code_that_differs_from_that_of_the_process_is_refused(
    serve: Any, other_code: Registry
) -> None:
    for _ in range(2):
        serve(NAME)  # packed from the code of this process
        with pytest.raises(MlflowException, match="differs from the `pas` that this process has"):
            serve(OTHER)


@pytest.mark.whole
@pytest.mark.parametrize(("first", "second"), [(NAME, OTHER), (OTHER, NAME)])
def test_two_vectors_with_different_code_do_not_share_a_process(
    other_code: Registry, home: Path, tmp_path: Path, first: str, second: str
) -> None:
    code = (
        "import sys, mlflow\n"
        "def load(name):\n"
        "    config = {'cache_dir': sys.argv[1]}\n"
        "    return mlflow.pyfunc.load_model(f'models:/{name}@champion', model_config=config)\n"
        "def ask(model):\n"
        f"    return model.predict({PROMPTS}, params={{'max_new_tokens': {N_TOKENS}}})\n"
        "model = load(sys.argv[2])\n"
        "before = ask(model)\n"
        "try:\n"
        "    ask(load(sys.argv[3]))\n"
        "except mlflow.MlflowException as error:\n"
        "    assert 'Load it in a process of its own' in str(error), error\n"
        "    assert ask(model) == ask(load(sys.argv[2])) == before\n"
        "    print(before == [text.upper() for text in before])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home / "cache"), first, second],
        env={"MLFLOW_TRACKING_URI": other_code.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1:] == [str(first == OTHER)]


@pytest.mark.whole
def test_serves_without_the_project(
    registry: Registry, base: LoadedModel, home: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, mlflow, pandas as pd\n"
        "config = {'cache_dir': sys.argv[1], 'model': sys.argv[2]}\n"
        f"model = mlflow.pyfunc.load_model('models:/{NAME}@champion', model_config=config)\n"
        "import pas\n"
        "print(pas.__file__)\n"
        f"print(ascii(model.predict(pd.DataFrame({{'prompt': {PROMPTS}}}), "
        f"params={{'max_new_tokens': {N_TOKENS}}})))\n"
    )
    moved = tmp_path / "moved"
    (home / "base").rename(moved)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(home / "cache"), str(moved)],
            env={"MLFLOW_TRACKING_URI": registry.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        moved.rename(home / "base")
    assert done.returncode == 0, done.stderr
    place, answer = done.stdout.splitlines()[-2:]
    assert Path(place).is_relative_to(home / "artifacts")
    vector = a_vector(base)
    assert answer == ascii([generate(base, p, vector, max_new_tokens=N_TOKENS) for p in PROMPTS])
