"""Steering vectors and their files: safetensors and JSON, without pickle."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pas.data.chat import PLAIN, PromptStyle
from pas.errors import UserError
from pas.models.spec import ModelSpec

if TYPE_CHECKING:
    from pas.models.sites import Site

WEIGHTS_FILE = "vector.safetensors"
STEERING_FILE = "steering.json"
_UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError, UserError)


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
    site: "Site"
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
        """Write `vector.safetensors` and `steering.json` into the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        direction = np.ascontiguousarray(self.direction, dtype=np.float32)
        save_file({"direction": direction}, folder / WEIGHTS_FILE)
        facts = self._facts()
        (folder / STEERING_FILE).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "SteeringVector":
        """Read a vector that `save` wrote. `model.trust_remote_code` is False.

        Raises:
            UserError: If the folder does not contain a readable vector.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / STEERING_FILE).read_text())
            direction = load_file(folder / WEIGHTS_FILE)["direction"]
            if direction.ndim != 1 or not np.isfinite(direction).all():
                raise ValueError("the direction is not a vector of finite numbers")
            # The person who loads a vector decides whether to run code that the model brings.
            model = ModelSpec(**facts.pop("model") | {"trust_remote_code": False})
            prompt = PromptStyle(**facts.pop("prompt", {}))
            return cls(direction=direction, model=model, prompt=prompt, **facts)
        except _UNREADABLE as error:
            raise UserError(
                f"{folder.name}: not a steering vector ({error}). Give a folder that "
                "SteeringVector.save wrote."
            ) from error
