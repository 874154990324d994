"""Continuous batching: one thread that lets requests join and leave a running batch."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from pas.data.prompts import new_tokens_within
from pas.data.text import TextStream
from pas.decoding.batch import Row, RunningBatch
from pas.decoding.request import Finish, Request, Token
from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.generate import overflow_error

log = logging.getLogger("pas")
T = TypeVar("T")


class Piece(NamedTuple):
    """What a request gets for one token.

    Attributes:
        text: The text that became certain; it may be empty.
        token: The token; None for an end without one.
        finish: Why the continuation ends here; None where it goes on.
        error: What went wrong; the continuation ends here.
    """

    text: str
    token: Token | None = None
    finish: Finish | None = None
    error: Exception | None = None


class BusyError(Exception):
    """As many requests wait as may wait."""


@dataclass(eq=False)
class Handle:
    """A request that was handed in.

    Attributes:
        row: The request and its tokens so far.
        deliver: Called with each piece, in the scheduler's thread; it must not wait.
        stream: The text of the tokens.
        limit: Largest number of tokens to generate: what is asked for, or what the model's context
            window has room for.
        cancelled: Set by `cancel`.
    """

    row: Row
    deliver: Callable[[Piece], None]
    stream: TextStream
    limit: int
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop generating for this request; its place is free at the next token."""
        self.cancelled = True


@dataclass
class Load:
    """How busy a scheduler is.

    Attributes:
        running: Requests in the batch.
        waiting: Requests that wait for a place.
        steps: Forward calls so far that gave each row of the batch a token.
        rows: Sum of the batch sizes of these calls.
    """

    running: int = 0
    waiting: int = 0
    steps: int = 0
    rows: int = 0


class Scheduler:
    """Generates for all requests with one model."""

    def __init__(
        self,
        model: LoadedModel,
        batch_size: int = 16,
        queue_size: int = 64,
        prefill_tokens: int = 2048,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            model: The model.
            batch_size: Largest number of requests that run together.
            queue_size: Largest number of requests that wait for a place.
            prefill_tokens: Largest number of prompt tokens, with padding, that are run between two
                steps, unless one prompt alone is longer.
        """
        self.load = Load()
        self._model = model
        self._batch_size, self._queue_size = batch_size, queue_size
        self._prefill_tokens = prefill_tokens
        self._ends = model.end_ids
        self._waiting: deque[Handle] = deque()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running: list[Handle] = []
        self._batch = RunningBatch(model)
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="pas-scheduler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Requests that have not ended get an error."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def submit(
        self, requests: Sequence[Request], deliver: Callable[[int, Piece], None]
    ) -> list[Handle]:
        """Hand in requests, all or none of them.

        Args:
            requests: What to generate.
            deliver: Called with the number of a request and each of its pieces, in the scheduler's
                thread. It must not wait.

        Raises:
            UserError: If a prompt fills the model's context window.
            BusyError: If more would wait than may, or the scheduler has stopped.
        """
        handles = [
            Handle(
                Row(request),
                partial(deliver, number),
                TextStream(self._model.tokenizer, request.stop),
                new_tokens_within(self._model.info, len(request.token_ids), request.max_new_tokens),
            )
            for number, request in enumerate(requests)
        ]
        with self._changed:
            if self._ending:
                raise BusyError("the server is stopping")
            if len(self._waiting) + len(handles) > self._queue_size + self._free:
                raise BusyError(f"{len(self._waiting)} requests wait already; try again later")
            self._waiting += handles
            self._count()
            self._changed.notify()
        return handles

    @property
    def is_full(self) -> bool:
        """Whether no further request may wait."""
        with self._changed:
            return self._ending or len(self._waiting) >= self._queue_size + self._free

    @property
    def _free(self) -> int:
        return self._batch_size - len(self._running)

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Run a function with the model between two steps, when no vector is applied."""
        future: Future[T] = Future()
        with self._changed:
            self._jobs.append((future, function))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._ending:
                    break
                jobs, self._jobs = self._jobs, deque()
                new = self._admit()
            for future, function in jobs:
                _run_job(future, function)
            cancelled = [h for h in self._running if h.cancelled]
            if cancelled:
                self._discard(cancelled)
            if new:
                self._try(new, partial(self._join, new))
            if self._running:
                self._try(self._running, self._step)
        stopped = Piece("", error=BusyError("the server is stopping"))
        for handle in (*self._running, *self._waiting):
            _deliver(handle, stopped)
        for future, _ in self._jobs:
            future.cancel()

    def _has_work(self) -> bool:
        return bool(self._ending or self._jobs or self._waiting or self._running)

    def _admit(self) -> list[Handle]:
        """Take requests from the queue that fit into the batch."""
        new: list[Handle] = []
        longest = 0
        while self._waiting and len(self._running) + len(new) < self._batch_size:
            handle = self._waiting[0]
            longest = max(longest, len(handle.row.request.token_ids))
            if new and longest * (len(new) + 1) > self._prefill_tokens:
                break
            self._waiting.popleft()
            if not handle.cancelled:
                new.append(handle)
        self._count(len(new))
        return new

    def _count(self, joining: int = 0) -> None:
        self.load.waiting, self.load.running = len(self._waiting), len(self._running) + joining

    def _join(self, new: list[Handle]) -> None:
        tokens = self._batch.join([handle.row for handle in new])
        self._running += new
        self._hand_out(new, tokens)

    def _step(self) -> None:
        self.load.steps += 1
        self.load.rows += len(self._running)
        self._hand_out(list(self._running), self._batch.step())

    def _try(self, handles: list[Handle], work: Callable[[], None]) -> None:
        """Run the model; what goes wrong is told to the requests that it was for."""
        try:
            work()
        except Exception as error:
            # The thread serves the others, so it must not end. Half-run rows are given up.
            if not isinstance(error, UserError):
                log.exception("a forward call failed")
            for handle in handles:
                _deliver(handle, Piece("", error=error))
            failed = set(map(id, handles))
            self._discard([h for h in self._running if id(h) in failed])

    def _hand_out(self, handles: Sequence[Handle], tokens: Sequence[Token | None]) -> None:
        pieces = [self._piece(h, token) for h, token in zip(handles, tokens, strict=True)]
        # First, so that whoever is told of an end finds the place free.
        self._discard([h for h, p in zip(handles, pieces, strict=True) if p.finish or p.error])
        for handle, piece in zip(handles, pieces, strict=True):
            _deliver(handle, piece)

    def _piece(self, handle: Handle, token: Token | None) -> Piece:
        if token is None:
            return Piece("", error=overflow_error(self._model, handle.row.request.interventions))
        if token.id in self._ends:
            return Piece(handle.stream.finish(), token, "stop")
        text = handle.stream.push(token.id)
        if handle.stream.stopped:
            return Piece(text, token, "stop")
        if len(handle.row.token_ids) < handle.limit:
            return Piece(text, token)
        text += handle.stream.finish()
        return Piece(text, token, "stop" if handle.stream.stopped else "length")

    def _discard(self, handles: Sequence[Handle]) -> None:
        if handles:
            gone = set(map(id, handles))
            self._batch.leave([handle.row for handle in handles])
            self._running = [h for h in self._running if id(h) not in gone]
        self._count()


def _run_job(future: "Future[Any]", function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _deliver(handle: Handle, piece: Piece) -> None:
    try:
        handle.deliver(piece)
    except Exception:
        # The reader is gone, such as an event loop that was closed.
        handle.cancel()
