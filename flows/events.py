"""The events that flows emit, for the automations of a team's Prefect server.

Each class is an event: `EVENT` is its name, its fields are the payload. docs/deploy.md lists them.
All are about a vector, the resource `pas.vector.<name of the registered model>`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import ClassVar

from prefect.events import emit_event
from prefect.runtime import flow_run

from pas.recipe import Recipe
from storage.registry.versions import model_name


@dataclass(frozen=True)
class VectorEvent:
    """Something that happened to a vector.

    Attributes:
        name: Registered model.
    """

    EVENT: ClassVar[str]
    name: str

    def emit(self) -> None:
        """Send the event to Prefect, with the fields as its payload."""
        emit_event(
            event=self.EVENT,
            resource={
                "prefect.resource.id": f"pas.vector.{self.name}",
                "prefect.resource.name": self.name,
            },
            payload=asdict(self),
        )


@dataclass(frozen=True)
class CandidateRegistered(VectorEvent):
    """A training has registered a candidate, or handed over one that was never judged.

    Attributes:
        version: The candidate.
        verdict: Of its training.
        delta: Gain in test accuracy.
    """

    EVENT = "pas.candidate.registered"
    version: int
    verdict: str
    delta: float


@dataclass(frozen=True)
class ChampionPromoted(VectorEvent):
    """A candidate has become champion.

    Attributes:
        version: The champion now.
        replaced: The champion before; None for the first.
        accepted: Failed checks that were accepted.
    """

    EVENT = "pas.champion.promoted"
    version: int
    replaced: int | None
    accepted: tuple[str, ...]


@dataclass(frozen=True)
class CandidateRefused(VectorEvent):
    """A candidate was refused; nothing changed.

    Attributes:
        version: The candidate.
        checks: Names of the checks that refused it.
        reason: The same with the measured values, as a sentence.
    """

    EVENT = "pas.candidate.refused"
    version: int
    checks: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class ChampionRolledBack(VectorEvent):
    """The previous champion is champion again.

    Attributes:
        version: The champion now.
        replaced: The champion before.
    """

    EVENT = "pas.champion.rolled-back"
    version: int
    replaced: int | None


@dataclass(frozen=True)
class ChampionDrifted(VectorEvent):
    """On fresh rows the champion has fallen below what it had.

    Attributes:
        version: The champion.
        task: Its task.
        source: The fresh rows.
        n: Their number.
        accuracy_steered: Accuracy with the champion.
        accuracy_unsteered: Accuracy of the model alone.
        accuracy_before: Test accuracy of the champion's training.
        reason: What was found, as a sentence.
    """

    EVENT = "pas.champion.drifted"
    version: int
    task: str
    source: str
    n: int
    accuracy_steered: float
    accuracy_unsteered: float
    accuracy_before: float
    reason: str


@dataclass(frozen=True)
class TrainingFailed(VectorEvent):
    """A training that was to register a candidate has failed.

    A run that was killed ends without it; Prefect's own `prefect.flow-run.Crashed` tells that.

    Attributes:
        task: What was to be trained.
        seed: Of the recipe.
        error: The error, its first line.
        flow_run: Id of the flow run.
    """

    EVENT = "pas.training.failed"
    task: str
    seed: int
    error: str
    flow_run: str


EVENTS: tuple[type[VectorEvent], ...] = (
    CandidateRegistered,
    ChampionPromoted,
    CandidateRefused,
    ChampionRolledBack,
    ChampionDrifted,
    TrainingFailed,
)


@contextmanager
def failure_told(recipe: Recipe) -> Iterator[None]:
    """Emit `TrainingFailed` if the block, a training of the recipe, raises an error."""
    try:
        yield
    except Exception as error:
        name = model_name(recipe.model.slug, recipe.label)
        line = (str(error).splitlines() or [type(error).__name__])[0]
        TrainingFailed(name, recipe.task, recipe.seed, line, str(flow_run.id)).emit()
        raise
