"""Progress: who is told, and of what."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from pas.progress import counted, told_to


def test_a_listener_is_told_of_what_is_counted_in_its_block() -> None:
    heard: list[tuple[str, float, int]] = []

    def step() -> None:
        with counted(4, "items") as advance:
            advance(1)
            advance(2.5)

    step()
    with told_to(lambda *told: heard.append(told)):
        step()
        with ThreadPoolExecutor(1) as pool:  # as tasks are started
            pool.submit(copy_context().run, step).result()
    step()
    assert heard == [("items", 1, 4), ("items", 3.5, 4)] * 2


def test_a_bar_is_for_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    for bar in (True, False):
        with counted(2, "items", bar=bar) as advance:
            advance(2)
    assert capfd.readouterr() == ("", "")
