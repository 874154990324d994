"""Steering vectors, their arithmetic and their files: safetensors and JSON, without pickle."""

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from pas.data.chat import PLAIN, PromptStyle
from pas.errors import UserError
from pas.files import write_whole
from pas.models.spec import ModelSpec, Site
from pas.steering.facts import SCHEMA, read_facts

if TYPE_CHECKING:
    from pas.steering.operations import Operation
    from pas.steering.read import Reading

WEIGHTS_FILE = "vector.safetensors"
STEERING_FILE = "steering.json"
ONE_FILE = ".safetensors"


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """One direction of a model's hidden state, and the strength to add it with.

    Attributes:
        direction: [d_model] float32, not scaled: `strength * direction` is added.
        layer: Decoder block that is steered, counted from 0.
        site: Where in the block.
        strength: The strength that was selected on the validation items.
        method: Name of the estimator.
        model: Specification of the model that the vector belongs to.
        fingerprint: Fingerprint of that model.
        task: The task that the vector was trained for.
        provenance: JSON-able record of the training and its evidence.
        prompt: How the texts that the vector was trained on were rendered, and how texts to be
            continued with it are.
        architecture: transformers' name of the model's type, such as "llama"; empty if not known.
    """

    direction: np.ndarray[Any, np.dtype[np.float32]]
    layer: int
    site: Site
    strength: float
    method: str
    model: ModelSpec
    fingerprint: str
    task: str
    provenance: dict[str, Any] = field(default_factory=dict)
    prompt: PromptStyle = PLAIN
    architecture: str = ""

    @property
    def digest(self) -> str:
        """blake2b-128 of all fields, as 32 hex characters; equal vectors have equal digests.

        The provenance is included, because other evidence may give another verdict.
        `trust_remote_code` is not included, because it is not stored with the vector.
        """
        facts = self._facts()
        facts["model"] = {k: v for k, v in facts["model"].items() if k != "trust_remote_code"}
        # Through JSON once, so that a vector and its copy from disk agree (tuples become lists).
        plain = json.loads(json.dumps(facts))
        digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.direction, dtype="<f4").tobytes())
        return digest.hexdigest()

    def _facts(self) -> dict[str, Any]:
        """Return the fields without the direction.

        A plain prompt is left out, and an architecture that is not known, so that such a vector
        keeps the digest it had before there were these fields.
        """
        left_out = {"direction"}
        left_out |= {"prompt"} if self.prompt == PLAIN else set()
        left_out |= set() if self.architecture else {"architecture"}
        return {k: v for k, v in asdict(self).items() if k not in left_out}

    @property
    def content(self) -> str:
        """blake2b-128 of what the vector adds, where and after which prompts, as 32 hex characters.

        Method, task and evidence do not count: two trainings may find the same vector.
        """
        # 0.0 is added so that -0 is 0, and 2 is 2.0: they add the same.
        facts = [self.layer, self.site, self.strength + 0.0, self.fingerprint, asdict(self.prompt)]
        digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.direction + 0.0, dtype="<f4").tobytes())
        return digest.hexdigest()

    def adds_the_same_as(self, other: "SteeringVector") -> bool:
        """Return whether both add the same numbers in the same place, after the same prompts."""
        return self.content == other.content

    @property
    def norm(self) -> float:
        """Norm of what the vector adds: its direction times its own strength."""
        return float(np.linalg.norm(self._added))

    @property
    def _added(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self.strength * self.direction.astype(np.float64)

    def cosine(self, other: "SteeringVector") -> float:
        """Return the cosine between what two vectors add, from -1 to 1.

        Raises:
            UserError: If they are not of one model, layer and site, or one of them is zero.
        """
        self._require_same_place(other)
        if not self.norm or not other.norm:
            raise UserError("a vector that adds nothing has no direction to compare")
        return float(self._added @ other._added / (self.norm * other.norm))

    def __neg__(self) -> "SteeringVector":
        """Return the vector that adds the opposite."""
        return replace(self, strength=-self.strength, provenance=_made_by("negative", self))

    def __mul__(self, factor: float) -> "SteeringVector":
        """Return the vector that adds `factor` times as much.

        Raises:
            UserError: If the factor is not finite.
        """
        if not isinstance(factor, int | float):
            return NotImplemented
        if not math.isfinite(factor):
            raise UserError(f"factor {factor}: give a finite number")
        provenance = _made_by(f"{factor:g} times", self)
        return replace(self, strength=factor * self.strength, provenance=provenance)

    __rmul__ = __mul__

    def __add__(self, other: "SteeringVector") -> "SteeringVector":
        """Return the vector that adds what both add, each with its own strength.

        Its strength is 1. It has no evidence: a sum must be tested like any other vector.

        Raises:
            UserError: If they are not of one model, layer and site.
        """
        if not isinstance(other, SteeringVector):
            return NotImplemented
        self._require_same_place(other)
        return replace(
            self,
            direction=(self._added + other._added).astype(np.float32),
            strength=1.0,
            method="sum",
            task=self.task if self.task == other.task else f"{self.task} + {other.task}",
            provenance=_made_by("sum", self, other),
        )

    def __sub__(self, other: "SteeringVector") -> "SteeringVector":
        """Return the vector that adds what this one adds, less what the other does.

        Raises:
            UserError: If they are not of one model, layer and site.
        """
        if not isinstance(other, SteeringVector):
            return NotImplemented
        return self + -other

    def _require_same_place(self, other: "SteeringVector") -> None:
        from pas.steering.intervention import require_one_model

        require_one_model(self, other)
        if (self.layer, self.site) != (other.layer, other.site):
            raise UserError(
                f"the vectors belong to two places, layer {self.layer} {self.site} and layer "
                f"{other.layer} {other.site}: apply both with a Composition"
            )

    def on(
        self,
        model: Any,
        strength: float | Sequence[float] | None = None,
        positions: str = "generated",
        operation: "Operation" = "add",
    ) -> AbstractContextManager[None]:
        """Within the context, steer every run of a model: `generate`, a pipeline, a forward call.

        Args:
            model: A `LoadedModel` or a transformers model.
            strength: Factor on the direction, or one for each row of a batch. By default the
                vector's own for `add`, and 1 for other operations. 0 is the unsteered model.
            positions: "generated", "all", "prompt" or "first:N".
            operation: "add", "add-keep-norm", "ablate" or "clamp".

        Raises:
            UserError: As `pas.steering.apply.steer` does.
        """
        from pas.steering.apply import steer
        from pas.steering.intervention import Intervention

        factor = tuple(strength) if isinstance(strength, Sequence) else strength
        return steer(model, Intervention(self, factor, positions, operation))

    def read(self, model: Any, texts: Sequence[str]) -> "list[Reading]":
        """Return how far the hidden state of each token lies along the direction.

        See `pas.steering.read.read`.
        """
        from pas.steering.read import read

        return read(self, model, texts)

    def save(self, path: str | Path) -> None:
        """Write the vector.

        Args:
            path: A folder, for `vector.safetensors` and `steering.json` with its checksum; or a
                name that ends in `.safetensors`, for one file that holds both.
        """
        path = Path(path)
        direction = {"direction": np.ascontiguousarray(self.direction, dtype=np.float32)}
        facts = self._facts() | {"schema": SCHEMA}
        weights = save(direction)
        if path.suffix == ONE_FILE:
            path.parent.mkdir(parents=True, exist_ok=True)
            facts["sha256"] = _sha256(direction["direction"].tobytes())
            write_whole(path, save(direction, {STEERING_FILE: json.dumps(facts)}))
            return
        path.mkdir(parents=True, exist_ok=True)
        facts["sha256"] = _sha256(weights)
        write_whole(path / WEIGHTS_FILE, weights)
        text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
        write_whole(path / STEERING_FILE, text.encode())

    @classmethod
    def load(cls, path: str | Path) -> "SteeringVector":
        """Read a vector that `save` wrote. `model.trust_remote_code` is False.

        Args:
            path: A folder or a `.safetensors` file.

        Raises:
            UserError: If there is no whole vector; names the file and the field.
        """
        folder, file = Path(path), STEERING_FILE
        if folder.suffix == ONE_FILE and folder.is_file():
            return cls._load_file(folder)
        try:
            facts = read_facts((folder / STEERING_FILE).read_bytes())
            checksum = facts.pop("sha256")
            file = WEIGHTS_FILE
            weights = (folder / WEIGHTS_FILE).read_bytes()
            if checksum not in (None, _sha256(weights)):
                raise ValueError(f"its checksum is not the one in {STEERING_FILE}")
            return cls(direction=_direction(weights), **facts)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(
                f"{folder.name}: not a steering vector; {file}: {reason}. Give a folder that "
                "SteeringVector.save wrote, fetch it again, or train the vector again."
            ) from error

    @classmethod
    def _load_file(cls, file: Path) -> "SteeringVector":
        try:
            with safe_open(file, "numpy") as opened:
                text = (opened.metadata() or {}).get(STEERING_FILE)
            if text is None:
                raise ValueError("it says nothing about the model and the layer")
            facts = read_facts(text.encode())
            checksum = facts.pop("sha256")
            direction = _direction(file.read_bytes())
            if checksum != _sha256(direction.tobytes()):
                raise ValueError("its checksum is not the one of its direction")
            return cls(direction=direction, **facts)
        except (OSError, ValueError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(
                f"{file.name}: not a steering vector: {reason}. Give a file that "
                "SteeringVector.save wrote; pas import takes vectors of other tools."
            ) from error


def _made_by(operation: str, *vectors: SteeringVector) -> dict[str, Any]:
    """Return the provenance of a vector that was computed from others: it has no evidence yet."""
    return {
        "arithmetic": operation,
        "of": [{"task": v.task, "method": v.method, "content": v.content} for v in vectors],
    }


def _direction(weights: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the one tensor of a file.

    Raises:
        ValueError: If it is another one, or holds what cannot be added.
    """
    try:
        tensors: dict[str, np.ndarray[Any, Any]] = load(weights)
    # The library raises what it meets: its own error, a KeyError for a dtype that NumPy lacks...
    except Exception as error:
        raise ValueError(f"it is damaged ({error})") from error
    if [*tensors] != ["direction"]:
        names = ", ".join(tensors) or "nothing"
        raise ValueError(f"it holds {names} in place of one tensor `direction`")
    direction = tensors["direction"]
    if direction.ndim != 1 or not direction.size or direction.dtype != np.float32:
        shape = list(direction.shape)
        raise ValueError(f"direction is {direction.dtype} {shape}, not float32 [d_model]")
    if not np.isfinite(direction).all():
        raise ValueError("direction has numbers that are not finite")
    return direction


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
