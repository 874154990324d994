"""The application: its routes, who may call them, and what it logs."""

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.exceptions import HTTPException as HTTPError

from pas.data.prompts import encode
from pas.decoding.scheduler import BusyError, Handle, Piece, Scheduler
from pas.errors import UserError
from pas.models.loading import LoadedModel
from serving.access import BodyLimit, is_allowed
from serving.answers import DONE, Format, error_body, error_event
from serving.metrics import Metrics
from serving.prompts import Limits, TooLongError, UnknownModelError, asked_of
from serving.schema import ChatBody, CompletionBody, ReadBody
from serving.vectors import Vectors

access = logging.getLogger("pas.access")
_PAGE = Path(__file__).parent / "page" / "index.html"
# The page is one file and asks nobody else.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)
_INVALID, _SERVER = "invalid_request_error", "server_error"
_LISTENING = 0.5  # seconds between two looks whether a client is still there


@dataclass(frozen=True)
class Service:
    """What the routes work with.

    Attributes:
        model: The model that is served.
        base: The name that it is served under.
        scheduler: Generates.
        vectors: Those that are offered.
        limits: How much one request may ask for.
        keys: API keys; empty where anyone may ask.
        body_limit: Largest body of a request, in bytes.
    """

    model: LoadedModel
    base: str
    scheduler: Scheduler
    vectors: Vectors
    limits: Limits = Limits()
    keys: tuple[str, ...] = ()
    body_limit: int = 1 << 20


@dataclass
class _Answer:
    """One request while it is answered."""

    endpoint: str
    began: float = field(default_factory=time.perf_counter)
    id: str = field(default_factory=lambda: uuid4().hex)
    label: str = "none"
    prompt_tokens: int = 0
    tokens: int = 0
    first: float | None = None

    def log(self, metrics: Metrics, status: int) -> None:
        """Count it, and write a line without its text."""
        seconds = time.perf_counter() - self.began
        metrics.requests.labels(self.endpoint, str(status), self.label).inc()
        metrics.tokens.labels("prompt", self.label).inc(self.prompt_tokens)
        metrics.tokens.labels("generated", self.label).inc(self.tokens)
        metrics.seconds.labels(self.endpoint).observe(seconds)
        if self.first is not None:
            metrics.first.labels(self.endpoint).observe(self.first)
        line = {
            "request": self.id,
            "endpoint": self.endpoint,
            "status": status,
            "seconds": round(seconds, 4),
            "vector": self.label,
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.tokens,
        }
        access.info(json.dumps(line))


def build_app(service: Service) -> FastAPI:
    """Return the application.

    Args:
        service: What it works with; its scheduler runs.
    """
    metrics = Metrics(service.scheduler)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.vectors.stop()
        await asyncio.to_thread(service.scheduler.stop)

    def allowed(request: Request) -> None:
        if not is_allowed(request.headers.get("authorization"), service.keys):
            raise HTTPException(401, "give an API key: Authorization: Bearer KEY")

    app = FastAPI(
        title="pas",
        description="Text from one model, steered by vectors that each request chooses.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from the network
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, limit=service.body_limit)
    guarded = [Depends(allowed)]

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        message = str(first["msg"]).removeprefix("Value error, ")
        text = f"{place}: {message}" if place else message
        return JSONResponse(error_body(text, _INVALID), 400)

    @app.exception_handler(HTTPError)
    async def refused(_: Request, error: HTTPError) -> JSONResponse:
        return JSONResponse(error_body(str(error.detail), _INVALID), error.status_code)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        text = _PAGE.read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthy() -> str:
        """Answer while the process runs."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def ready() -> Response:
        """Answer 200 while another request would be taken."""
        if service.scheduler.is_full:
            return PlainTextResponse("the queue is full\n", 503)
        return PlainTextResponse("ready\n")

    @app.get("/metrics", dependencies=guarded)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", dependencies=guarded)
    async def models() -> dict[str, Any]:
        """List the model, alone and with each vector that has an alias."""
        rows: list[dict[str, Any]] = [
            {"id": service.base, "object": "model", "owned_by": "pas", "vector": None}
        ]
        for reference, vector in sorted(service.vectors.offered.items()):
            [first, *_] = vector.steering
            about = {
                "reference": reference,
                "name": vector.name,
                "version": vector.version,
                "task": first.vector.task,
                "strength": first.strength,
                "layer": first.vector.layer,
            }
            rows.append(
                {
                    "id": f"{service.base}@{reference}",
                    "object": "model",
                    "owned_by": "pas",
                    "vector": about,
                }
            )
        return {"object": "list", "data": rows}

    @app.post("/v1/completions", dependencies=guarded)
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await _generate("completions", body, request, service, metrics)

    @app.post("/v1/chat/completions", dependencies=guarded)
    async def chat_completions(body: ChatBody, request: Request) -> Response:
        return await _generate("chat", body, request, service, metrics)

    @app.post("/v1/read", dependencies=guarded)
    async def read(body: ReadBody) -> Response:
        """Project a text's tokens onto a vector."""
        answer = _Answer("read")

        def work() -> dict[str, Any]:
            vector = service.vectors.find(body.vector)
            answer.label = vector.label
            [first, *_] = vector.steering
            n_tokens = len(encode(service.model.info, body.text).token_ids)
            if n_tokens > service.limits.prompt_tokens:
                raise TooLongError(
                    f"the text has {n_tokens} tokens: at most {service.limits.prompt_tokens}"
                )
            future = service.scheduler.call(lambda: first.vector.read(service.model, [body.text]))
            [reading] = future.result()
            answer.prompt_tokens = len(reading.tokens)
            values = [round(float(v), 4) for v in reading.values]
            return {"vector": vector.label, "tokens": list(reading.tokens), "values": values}

        try:
            found = await asyncio.to_thread(work)
        except UserError as error:
            status = 413 if isinstance(error, TooLongError) else 400
            answer.log(metrics, status)
            return JSONResponse(error_body(str(error), _INVALID), status)
        answer.log(metrics, 200)
        return JSONResponse(found)

    return app


async def _generate(
    endpoint: str,
    body: CompletionBody | ChatBody,
    request: Request,
    service: Service,
    metrics: Metrics,
) -> Response:
    answer = _Answer(endpoint)

    def refuse(
        status: int, error: Exception, kind: str = _INVALID, code: str | None = None
    ) -> Response:
        answer.log(metrics, status)
        headers = {"Retry-After": "1"} if status == 429 else None
        return JSONResponse(error_body(str(error), kind, code), status, headers)

    try:
        # A vector that was not asked for before is fetched, which may take long.
        asked = await asyncio.to_thread(
            asked_of, body, service.model, service.base, service.vectors, service.limits
        )
        answer.label, answer.prompt_tokens = asked.label, asked.prompt_tokens
        inbox: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(number: int, piece: Piece) -> None:
            loop.call_soon_threadsafe(inbox.put_nowait, (number, piece))

        handles = service.scheduler.submit(asked.requests, deliver)
    except UnknownModelError as error:
        return refuse(404, error, code="model_not_found")
    except TooLongError as error:
        return refuse(413, error, code="context_length_exceeded")
    except UserError as error:
        return refuse(400, error)
    except BusyError as error:
        return refuse(429, error, "rate_limit_error")
    logprobs = body.logprobs if isinstance(body, ChatBody) else body.logprobs is not None
    form = Format.of(endpoint == "chat", body.model, asked, logprobs, service.model.tokenizer)
    headers = {"X-Request-Id": answer.id, "X-Pas-Vectors": asked.label}
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        events = _events(form, handles, inbox, answer, metrics, usage)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    pieces: dict[int, list[Piece]] = defaultdict(list)
    try:
        async for number, piece in _pieces(inbox, len(handles), answer, request):
            if piece.error is not None:
                return _failure(piece.error, refuse)
            pieces[number].append(piece)
    finally:
        for handle in handles:
            handle.cancel()
    if len(pieces) < len(handles) or not all(parts[-1].finish for parts in pieces.values()):
        answer.log(metrics, 499)  # the client has gone
        return Response(status_code=499)
    answer.log(metrics, 200)
    return JSONResponse(form.whole([pieces[n] for n in range(len(handles))]), headers=headers)


def _failure(error: Exception, refuse: Callable[..., Response]) -> Response:
    if isinstance(error, BusyError):
        return refuse(503, error, _SERVER)
    if isinstance(error, UserError):
        return refuse(400, error)
    return refuse(500, RuntimeError("the model failed; the server's log has the reason"), _SERVER)


async def _pieces(
    inbox: "asyncio.Queue[tuple[int, Piece]]",
    count: int,
    answer: _Answer,
    request: Request | None,
) -> AsyncIterator[tuple[int, Piece]]:
    """Yield what arrives until `count` continuations have ended, or the client has gone."""
    while count:
        try:
            number, piece = await asyncio.wait_for(inbox.get(), _LISTENING)
        except TimeoutError:
            if request is not None and await request.is_disconnected():
                return
            continue
        if answer.first is None:
            answer.first = time.perf_counter() - answer.began
        answer.tokens += piece.token is not None
        count -= bool(piece.finish or piece.error)
        yield number, piece


async def _events(
    form: Format,
    handles: list[Handle],
    inbox: "asyncio.Queue[tuple[int, Piece]]",
    answer: _Answer,
    metrics: Metrics,
    usage: bool,
) -> AsyncIterator[str]:
    status = 499  # until the end is reached: the client has gone
    try:
        if form.chat:
            for number in range(len(handles)):
                yield form.first(number)
        async for number, piece in _pieces(inbox, len(handles), answer, None):
            if piece.error is not None:
                known = isinstance(piece.error, UserError | BusyError)
                status = 400 if isinstance(piece.error, UserError) else 503 if known else 500
                text = str(piece.error) if known else "the model failed"
                yield error_event(text, _INVALID if status == 400 else _SERVER)
                return
            if piece.text or piece.finish or form.logprobs:
                yield form.part(number, piece)
        if usage:
            yield form.last(answer.tokens)
        yield DONE
        status = 200
    finally:
        for handle in handles:
            handle.cancel()
        answer.log(metrics, status)
