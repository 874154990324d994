"""Interventions: a vector with its strength, positions and operation, and several at once."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pas.data.chat import PromptStyle
from pas.errors import UserError
from pas.files import write_whole
from pas.steering.operations import OPERATIONS, Operation
from pas.steering.positions import GENERATED, read_positions
from pas.steering.vector import SteeringVector

COMPOSITION_FILE = "composition.json"
SCHEMA = 1
_LARGEST = math.sqrt(np.finfo(np.float32).max)
Strengths = float | tuple[float, ...]


@dataclass(frozen=True)
class Intervention:
    """What is done with one vector.

    Attributes:
        vector: The vector.
        strength: Factor on the direction, or one for each row of a batch; 0 leaves a row as it is.
            By default the vector's own strength for `add`, and 1 for the other operations.
        positions: "generated", "all", "prompt" or "first:N", see
            `pas.steering.positions.read_positions`.
        operation: "add", "add-keep-norm", "ablate" or "clamp", see `pas.steering.operations`.

    Raises:
        UserError: If a strength is not finite or too large, or positions or operation are unknown.
    """

    vector: SteeringVector
    strength: Strengths | None = None
    positions: str = GENERATED
    operation: Operation = "add"

    def __post_init__(self) -> None:
        """Check the fields, and fill in the strength."""
        if self.operation not in OPERATIONS:
            raise UserError(f"operation {self.operation!r}: give {', '.join(OPERATIONS)}")
        read_positions(self.positions)
        strength = self.strength
        if strength is None:
            strength = self.vector.strength if self.operation == "add" else 1.0
        elif isinstance(strength, Sequence):
            strength = tuple(map(float, strength))
        object.__setattr__(self, "strength", strength)
        for value in self.strengths:
            if not math.isfinite(value):
                raise UserError(f"strength {value}: give a finite number")
            # What norms make of a square beyond float32 is 0: text, but of no model.
            if abs(value) * float(np.linalg.norm(self.vector.direction)) > _LARGEST:
                raise UserError(f"strength {value:g}: the vector overflows; give a smaller one")

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strength of each row, or the one of all."""
        strength = self.strength
        assert strength is not None
        return strength if isinstance(strength, tuple) else (float(strength),)

    def scaled(self, factor: float) -> "Intervention":
        """Return the intervention with every strength multiplied by a factor."""
        scaled = tuple(factor * strength for strength in self.strengths)
        return replace(self, strength=scaled if isinstance(self.strength, tuple) else scaled[0])


@dataclass(frozen=True)
class Composition:
    """Several interventions on one model, applied together.

    Attributes:
        interventions: At least one. In a composition that is saved each has one strength.

    Raises:
        UserError: If there is none, or their vectors are not of one model.
    """

    interventions: tuple[Intervention, ...]

    def __post_init__(self) -> None:
        """Check that the vectors belong together."""
        if not self.interventions:
            raise UserError("a composition needs at least one intervention")
        first = self.interventions[0].vector
        for other in self:
            require_one_model(first, other.vector)

    def __iter__(self) -> Iterator[Intervention]:
        """Go through the interventions."""
        return iter(self.interventions)

    @property
    def is_mixed(self) -> bool:
        """Whether the vectors were trained on texts of different styles."""
        return len({i.vector.prompt for i in self}) > 1

    @property
    def prompt(self) -> PromptStyle:
        """How the texts that the vectors were trained on were rendered.

        Raises:
            UserError: If their styles differ.
        """
        styles = {i.vector.prompt for i in self}
        if self.is_mixed:
            names = ", ".join(sorted(style.name for style in styles))
            raise UserError(
                f"the vectors were trained on texts of different styles ({names}): give a "
                "conversation, a list of messages, in place of a text"
            )
        return styles.pop()

    def scaled(self, factor: float) -> "Composition":
        """Return the composition with every strength multiplied by a factor."""
        return Composition(tuple(i.scaled(factor) for i in self))

    def on(self, model: Any) -> AbstractContextManager[None]:
        """Within the context, steer every run of the model; see `pas.steering.apply.steer`."""
        from pas.steering.apply import steer

        return steer(model, self)

    def save(self, folder: str | Path) -> None:
        """Write `composition.json`, and each vector into a numbered folder beside it.

        Raises:
            UserError: If an intervention has several strengths, which belong to one batch.
        """
        folder = Path(folder)
        rows: list[dict[str, Any]] = []
        for i in self:
            if isinstance(i.strength, tuple):
                raise UserError("strengths of single rows are not saved: give one strength")
            rows.append(
                {
                    "vector": i.vector.digest,
                    "strength": i.strength,
                    "positions": i.positions,
                    "operation": i.operation,
                }
            )
        for number, i in enumerate(self):
            i.vector.save(folder / str(number))
        text = json.dumps({"schema": SCHEMA, "interventions": rows}, indent=2) + "\n"
        # Last, so that a folder with this file is whole.
        write_whole(folder / COMPOSITION_FILE, text.encode())

    @classmethod
    def load(cls, folder: str | Path) -> "Composition":
        """Read a composition that `save` wrote.

        Raises:
            UserError: If the folder does not hold a whole composition; names the file.
        """
        folder = Path(folder)
        try:
            stored = json.loads((folder / COMPOSITION_FILE).read_bytes())
            if stored["schema"] != SCHEMA:
                raise ValueError(f"schema {stored['schema']} is of another release than this one")
            interventions = []
            for number, row in enumerate(stored["interventions"]):
                if type(row["strength"]) not in (int, float):
                    raise ValueError(f"strength {row['strength']!r} of vector {number}")
                vector = SteeringVector.load(folder / str(number))
                if vector.digest != row["vector"]:
                    raise ValueError(f"vector {number} is not the one that was saved")
                interventions.append(
                    Intervention(vector, float(row["strength"]), row["positions"], row["operation"])
                )
            return cls(tuple(interventions))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(
                f"{folder.name}: not a composition; {COMPOSITION_FILE}: {reason}. Give a folder "
                "that Composition.save wrote."
            ) from error


def load_steering(folder: str | Path) -> SteeringVector | Composition:
    """Read a vector or a composition, whichever is there.

    Args:
        folder: A folder that `save` of either wrote, or a vector's `.safetensors` file.

    Raises:
        UserError: If there is neither, or it is damaged.
    """
    is_composition = (Path(folder) / COMPOSITION_FILE).is_file()
    return Composition.load(folder) if is_composition else SteeringVector.load(folder)


def interventions_of(
    steering: SteeringVector | Intervention | Composition | Sequence[Intervention],
) -> Composition:
    """Return what is to be done as a composition; a vector alone is added with its own strength."""
    if isinstance(steering, Composition):
        return steering
    if isinstance(steering, SteeringVector):
        steering = Intervention(steering)
    return Composition((steering,) if isinstance(steering, Intervention) else tuple(steering))


def require_one_model(one: SteeringVector, other: SteeringVector) -> None:
    """Refuse two vectors that are not of one model.

    Raises:
        UserError: If their fingerprints differ, and their widths or architectures too, or their
            models' names.
    """
    if one.fingerprint == other.fingerprint:
        return
    alike = (
        one.model.id == other.model.id
        and one.architecture == other.architecture
        and len(one.direction) == len(other.direction)
    )
    if not alike:
        raise UserError(
            f"the vectors are of two models, {one.model.id} and {other.model.id} (fingerprints "
            f"{one.fingerprint[:8]} and {other.fingerprint[:8]}): use vectors of one model"
        )
