"""`pas serve` within the test's process: the real application on a port of loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from pas.decoding.scheduler import Scheduler
from pas.models.loading import LoadedModel
from serving import run
from serving.app import Service
from serving.vectors import Vectors


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
