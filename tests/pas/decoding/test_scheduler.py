"""Many requests at once: each gets its own text, cancelled ones free their place."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pas.decoding.request import Request
from pas.decoding.scheduler import BusyError, Handle, Piece, Scheduler
from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.steering.generate import generate_all
from pas.steering.intervention import Intervention
from tests.helpers.steering import a_vector, requests

Tiny = Callable[..., LoadedModel]


@contextmanager
def running(model: LoadedModel, **options: Any) -> Iterator[Scheduler]:
    scheduler = Scheduler(model, **options)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


class Inbox:
    """What the requests of one call got."""

    def __init__(self, count: int) -> None:
        self.pieces: dict[int, list[Piece]] = defaultdict(list)
        self._left, self._done = count, threading.Event()
        self.arrived = threading.Semaphore(0)

    def __call__(self, number: int, piece: Piece) -> None:
        self.pieces[number].append(piece)
        self.arrived.release()
        if piece.finish or piece.error:
            self._left -= 1
            if not self._left:
                self._done.set()

    def texts(self) -> list[str]:
        assert self._done.wait(60)
        return ["".join(p.text for p in self.pieces[n]) for n in sorted(self.pieces)]


def ask(scheduler: Scheduler, wanted: Sequence[Request]) -> Inbox:
    inbox = Inbox(len(wanted))
    scheduler.submit(wanted, inbox)
    return inbox


def test_many_requests_with_different_vectors(tiny: Tiny) -> None:
    model = tiny("llama")
    wanted = [replace(r, max_new_tokens=4 + n % 5) for n, r in enumerate(requests(model, 8) * 6)]
    plain = [r for r in wanted if not r.interventions]
    with running(model, batch_size=4) as scheduler:
        together = ask(scheduler, wanted).texts()
        alone = [ask(scheduler, [request]).texts()[0] for request in wanted[:5]]
        assert scheduler.load.running == scheduler.load.waiting == 0
        assert scheduler.load.rows / scheduler.load.steps > 2
    assert together[:5] == alone
    assert len(set(together)) >= 5
    text = model.tokenizer.decode(plain[0].token_ids, skip_special_tokens=True)
    [same] = generate_all(model, [text], None, max_new_tokens=plain[0].max_new_tokens)
    assert together[wanted.index(plain[0])] == same


def test_ends(tiny: Tiny) -> None:
    model = tiny("llama")
    [request, *_] = requests(model, 8)
    with running(model) as scheduler:
        inbox = ask(scheduler, [request])
        [text] = inbox.texts()
        assert inbox.pieces[0][-1].finish == "length" and len(inbox.pieces[0]) == 8
        middle = text[len(text) // 2 :][:2]
        inbox = ask(scheduler, [replace(request, stop=(middle,))])
        assert inbox.texts() == [text[: text.index(middle)]]
        assert inbox.pieces[0][-1].finish == "stop"
        tokens = [p.token.id for p in inbox.pieces[0] if p.token]
        own = model.model.generation_config.eos_token_id
        model.model.generation_config.eos_token_id = tokens[1]
        try:
            with running(model) as other:
                inbox = ask(other, [request])
                inbox.texts()
                first = tokens.index(tokens[1])
                assert len(inbox.pieces[0]) == first + 1
                assert inbox.pieces[0][-1].finish == "stop"
        finally:
            model.model.generation_config.eos_token_id = own


def test_a_text_ends_with_the_window(tiny: Tiny) -> None:
    model = tiny("llama")
    window = model.info.context_window
    [_, request, *_] = requests(model, 8)
    long = replace(request, token_ids=(5,) * (window - 3), max_new_tokens=10**9)
    with running(model) as scheduler:
        inbox = ask(scheduler, [long])
        inbox.texts()
        assert len(inbox.pieces[0]) <= 3 and inbox.pieces[0][-1].finish
        full = replace(request, token_ids=(5,) * window)
        with pytest.raises(UserError, match="fills the model's context window"):
            ask(scheduler, [full])


def test_a_cancelled_request_frees_its_place(tiny: Tiny) -> None:
    model = tiny("llama")
    long, short = (replace(requests(model, 8)[1], max_new_tokens=n) for n in (900, 3))
    with running(model, batch_size=1, queue_size=2) as scheduler:
        inbox = Inbox(1)
        [first] = scheduler.submit([long], inbox)
        assert inbox.arrived.acquire(timeout=30)
        [waiting] = scheduler.submit([long], Inbox(1))
        waiting.cancel()
        other = ask(scheduler, [short])
        with pytest.raises(BusyError, match="2 requests wait already"):
            ask(scheduler, [short])
        first.cancel()
        assert len(other.texts()) == 1
        assert len(inbox.pieces[0]) < 900
        assert scheduler.load.running == scheduler.load.waiting == 0


def test_one_that_fails_is_told_and_the_others_go_on(tiny: Tiny, tmp_path: Path) -> None:
    # Half precision overflows at 65,504.
    model = load_model(replace(tiny("llama").spec, dtype="float16"), tmp_path)
    good = requests(model, 6)[0]
    strong = a_vector(model, 1, 0)
    overflow = replace(good, interventions=(Intervention(strong, 1e6),))
    foreign = replace(strong, layer=99, fingerprint="other")
    unfit = replace(good, interventions=(Intervention(foreign),))
    with running(model) as scheduler:
        [expected] = ask(scheduler, [good]).texts()
        inbox = ask(scheduler, [good, overflow])
        assert inbox.texts() == [expected, ""]
        error = inbox.pieces[1][-1].error
        assert isinstance(error, UserError) and "not finite" in str(error)
        inbox = ask(scheduler, [unfit])
        inbox.texts()
        assert "layer 99" in str(inbox.pieces[0][-1].error)
        assert ask(scheduler, [good]).texts() == [expected]


def test_jobs_run_between_steps_without_a_vector(tiny: Tiny) -> None:
    model = tiny("llama")
    long = replace(requests(model, 8)[0], max_new_tokens=200)
    ids = torch.tensor([long.token_ids])

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return torch.Tensor(model.model(input_ids=ids).logits)

    before = logits()
    with running(model) as scheduler:
        inbox = ask(scheduler, [long])
        assert inbox.arrived.acquire(timeout=30)
        assert torch.equal(scheduler.call(logits).result(30), before)
        with pytest.raises(ZeroDivisionError):
            scheduler.call(lambda: 1 // 0).result(30)
        [text] = inbox.texts()
        assert text == ask(scheduler, [long]).texts()[0]


def test_stopping_tells_those_that_wait(tiny: Tiny) -> None:
    model = tiny("llama")
    long = replace(requests(model, 8)[1], max_new_tokens=900)
    scheduler = Scheduler(model, batch_size=1)
    scheduler.start()
    inbox = ask(scheduler, [long, long])
    assert inbox.arrived.acquire(timeout=30)
    scheduler.stop()
    inbox.texts()
    assert [type(inbox.pieces[n][-1].error) for n in (0, 1)] == [BusyError, BusyError]
    with pytest.raises(BusyError, match="stopping"):
        ask(scheduler, [long])


def test_a_reader_that_is_gone_is_a_cancelled_request(tiny: Tiny) -> None:
    model = tiny("llama")

    def closed(_: int, __: Piece) -> None:
        raise RuntimeError("the loop is closed")

    with running(model) as scheduler:
        handles: list[Handle] = scheduler.submit(requests(model, 200)[:1], closed)
        until = time.monotonic() + 30
        while scheduler.load.running + scheduler.load.waiting and time.monotonic() < until:
            time.sleep(0.01)
        assert handles[0].cancelled and scheduler.load.running == 0
