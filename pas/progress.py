"""Progress of a long step: a bar on a terminal, and whoever else wants to know."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm.auto import tqdm

Listener = Callable[[str, float, int], None]
"""Is told what is counted, how many are done, and of how many."""

Advance = Callable[[float], None]
"""Counts so many more as done."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def counted(total: int, what: str, *, bar: bool = True) -> Iterator[Advance]:
    """Count a step's work.

    Args:
        total: How much there is to do.
        what: Of what, in the plural.
        bar: Show a bar, after 2 s and on a terminal alone; not where parts of it have theirs.
    """
    listener, done = _listener.get(), 0.0

    def advance(by: float) -> None:
        nonlocal done
        done += by
        shown.update(by)
        if listener is not None:
            listener(what, done, total)

    with tqdm(total=total, desc=what, disable=None if bar else True, delay=2) as shown:
        yield advance


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Tell a listener of what is counted in the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
