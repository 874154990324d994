"""Steering vectors and their files: safetensors and JSON, without pickle."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from pas.data.chat import PLAIN, PromptStyle
from pas.errors import UserError
from pas.files import write_whole
from pas.models.spec import ModelSpec, Site
from pas.steering.facts import SCHEMA, read_facts

WEIGHTS_FILE = "vector.safetensors"
STEERING_FILE = "steering.json"


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

        A plain prompt is left out, so that such a vector keeps the digest it had before there were
        others.
        """
        left_out = {"direction"} | ({"prompt"} if self.prompt == PLAIN else set())
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

    def save(self, folder: str | Path) -> None:
        """Write `vector.safetensors`, and `steering.json` with its checksum, into the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        direction = np.ascontiguousarray(self.direction, dtype=np.float32)
        weights = save({"direction": direction})
        facts = self._facts() | {"schema": SCHEMA, "sha256": _sha256(weights)}
        write_whole(folder / WEIGHTS_FILE, weights)
        text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
        write_whole(folder / STEERING_FILE, text.encode())

    @classmethod
    def load(cls, folder: str | Path) -> "SteeringVector":
        """Read a vector that `save` wrote. `model.trust_remote_code` is False.

        Raises:
            UserError: If the folder does not contain a whole vector; names the file and the field.
        """
        folder, file = Path(folder), STEERING_FILE
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
