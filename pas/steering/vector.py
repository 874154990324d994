"""A steering vector: what it is, and how it is kept on disk without pickle."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pas.errors import UserError
from pas.models.spec import ModelSpec

if TYPE_CHECKING:
    from pas.models.sites import Site

WEIGHTS_FILE = "vector.safetensors"
STEERING_FILE = "steering.json"
_UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError, UserError)


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """One direction of a model's hidden state, and how strongly to add it.

    Attributes:
        direction: [d_model] float32, unscaled: `strength * direction` is added.
        layer: Decoder block it is written at, counted from 0.
        site: Where in the block.
        strength: The strength that validation chose.
        method: Estimator that made it.
        model: The model it belongs to, by reference.
        fingerprint: That model's fingerprint.
        task: The task it was trained for.
        provenance: JSON-able account of where it comes from.
    """

    direction: np.ndarray[Any, np.dtype[np.float32]]
    layer: int
    site: "Site"
    strength: float
    method: str
    model: ModelSpec
    fingerprint: str
    task: str
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """32 hex characters, the same for two vectors that agree in every field.

        The provenance counts: the same direction with other evidence may be judged otherwise.
        Permission to run a model's own code does not: it is not kept with the vector.
        """
        facts = {k: v for k, v in asdict(self).items() if k != "direction"}
        facts["model"] = {k: v for k, v in facts["model"].items() if k != "trust_remote_code"}
        # Through JSON once, so that a vector and its copy from disk agree: tuples become lists.
        plain = json.loads(json.dumps(facts))
        digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.direction, dtype="<f4").tobytes())
        return digest.hexdigest()

    def adds_the_same_as(self, other: "SteeringVector") -> bool:
        """Whether both add the same numbers at the same place of the same model."""
        return (self.layer, self.site, self.strength, self.fingerprint) == (
            other.layer,
            other.site,
            other.strength,
            other.fingerprint,
        ) and np.array_equal(self.direction, other.direction)

    def save(self, folder: str | Path) -> None:
        """Write `vector.safetensors` and `steering.json` into the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        direction = np.ascontiguousarray(self.direction, dtype=np.float32)
        save_file({"direction": direction}, folder / WEIGHTS_FILE)
        facts = {k: v for k, v in asdict(self).items() if k != "direction"}
        (folder / STEERING_FILE).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "SteeringVector":
        """Read what `save` wrote.

        Raises:
            UserError: If the folder does not hold a vector.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / STEERING_FILE).read_text())
            direction = load_file(folder / WEIGHTS_FILE)["direction"]
            if direction.ndim != 1 or not np.isfinite(direction).all():
                raise ValueError("the direction is not one row of finite numbers")
            # Whoever loads a vector decides anew whether to run code that its model brings.
            model = ModelSpec(**facts.pop("model") | {"trust_remote_code": False})
            return cls(direction=direction, model=model, **facts)
        except _UNREADABLE as error:
            raise UserError(f"{folder.name}: not a steering vector ({error})") from error
