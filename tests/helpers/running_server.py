"""`pas serve` within the test's process: the real application on a port of loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from pas.decoding.scheduler import Scheduler
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector
from serving import run
from serving.app import Service
from serving.vectors import Vectors
from tests.helpers.chat_templates import CHATML
from tests.helpers.tiny_models import D_MODEL, save_tiny


def chat_model(folder: Path, ends: bool = True) -> LoadedModel:
    """Return a tiny model with a chat template, made in the folder.

    One that does not end a text by itself generates as long as it may.
    """
    made = save_tiny("llama", folder / "base", chat_template=CHATML.text)
    if not ends:
        settings = made / "generation_config.json"
        kept = json.loads(settings.read_text()) | {"eos_token_id": None}
        settings.write_text(json.dumps(kept))
    return load_model(ModelSpec(str(made), device="cpu"), folder / "cache")


def vector_of(base: LoadedModel, seed: int = 0, strength: float = 3.0) -> SteeringVector:
    """Return a vector that changes what the tiny model says."""
    direction = np.random.default_rng(seed).normal(size=D_MODEL).astype(np.float32)
    return SteeringVector(
        direction, 1 + seed % 2, "residual", strength, "caa", base.spec, base.fingerprint, "toy"
    )


@contextmanager
def serving(
    model: LoadedModel, vectors: Vectors, batch_size: int = 8, queue_size: int = 64, **more: Any
) -> Iterator[str]:
    """Yield the server's address."""
    scheduler = Scheduler(model, batch_size, queue_size)
    scheduler.start()
    service = Service(model, "base", scheduler, vectors, **more)
    listener, ready = run.listen("127.0.0.1", 0), threading.Event()
    thread = threading.Thread(target=run.serve, args=(service, listener, 30.0, ready.set))
    thread.start()
    assert ready.wait(60)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(transport=httpx.HTTPTransport(retries=5)) as client:
        assert client.get(f"{address}/healthz").text == "ok\n"
    try:
        yield address
    finally:
        assert run.drain(service)
        thread.join(60)
        assert not thread.is_alive()
