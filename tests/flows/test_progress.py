"""Progress artifacts: of long steps alone, brought up to date, and finished."""

from typing import Any

import pytest
from prefect import flow
from prefect.runtime import flow_run

from flows import progress
from flows.progress import progress_shown, said
from pas.progress import counted
from tests.helpers.artifacts import artifacts


@pytest.mark.server
def test_a_long_step_has_one_artifact_and_a_short_one_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])

    @flow
    def steps() -> str:
        with progress_shown():
            for total, seconds, what in ((100, 1.0, "items scored"), (3, 1.0, "shards extracted")):
                with counted(total, what) as advance:
                    for _ in range(total):
                        clock[0] += seconds
                        advance(1)
        return str(flow_run.id)

    shown = artifacts(flow_run_id=steps())
    assert [(a["data"], a["description"]) for a in shown] == [
        (100.0, "Progress: 100 of 100 items scored; it took 99 s")
    ]


def test_the_end_is_estimated_from_the_pace() -> None:
    text = said("items scored", 30, 1200, 60)
    assert text.startswith("Progress: 30 of 1,200 items scored; done at about ")
    assert text.endswith(" UTC")


@pytest.mark.server
def test_a_server_that_is_away_does_not_end_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OSError("the server is away")

    monkeypatch.setattr(progress, "create_progress_artifact", away)
    monkeypatch.setattr(progress, "AFTER", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress_shown(), counted(2, "items") as advance:
        advance(1)
        advance(1)
