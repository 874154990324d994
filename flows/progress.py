"""The progress of a long step on the page of its run: done, of how many, and when it will end."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pas.progress import told_to

AFTER, EVERY = 5.0, 5.0  # seconds: shorter steps show nothing, longer ones are asked no more often


class _Shown(NamedTuple):
    """A step: when it began, when it was shown last, how much was done then, and its artifact."""

    began: float
    at: float
    done: float
    artifact: UUID | None


class ProgressArtifacts:
    """Listens to what is counted, and keeps a progress artifact for each step that takes long."""

    def __init__(self) -> None:
        """Know of no step yet."""
        self._steps: dict[str, _Shown] = {}

    def __call__(self, what: str, done: float, total: int) -> None:
        """Show the progress, if it is time to; a server that is away does not end the step."""
        now, step = monotonic(), self._steps.get(what)
        if step is None or done < step.done:
            step = _Shown(now, now, done, None)
        due = now - step.began >= AFTER and now - step.at >= EVERY
        if due or (done >= total and step.artifact is not None):
            artifact = step.artifact
            with suppress(Exception):
                artifact = _show(artifact, said(what, done, total, now - step.began), done / total)
            step = step._replace(at=now, artifact=artifact)
        self._steps[what] = step._replace(done=done)


def said(what: str, done: float, total: int, spent: float) -> str:
    """Return the progress in words, with the time at which the step will end at this pace."""
    counted = f"Progress: {done:,.0f} of {total:,} {what}"
    if done >= total:
        return f"{counted}; it took {spent:,.0f} s"
    end = datetime.now(UTC) + timedelta(seconds=spent * (total - done) / done)
    return f"{counted}; done at about {end:%H:%M} UTC"


def _show(artifact: UUID | None, text: str, share: float) -> UUID:
    percent = 100 * min(1.0, share)
    if artifact is None:
        made = create_progress_artifact(percent, description=text)
        assert isinstance(made, UUID)
        return made
    update_progress_artifact(artifact, percent, description=text)
    return artifact


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show the progress of the block's long steps."""
    with told_to(ProgressArtifacts()):
        yield
