"""Which model, and how its numbers are held."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pas.errors import UserError

DEMO = "demo"


DEMO_NAME = "SmolLM2-135M-Instruct"


QUANTIZATIONS = ("4bit", "8bit")


DTYPES = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class ModelSpec:
    """Which model, and how its numbers are held.

    Attributes:
        id: Hub id, local folder in hub layout, GGUF file, or "demo".
        revision: Hub branch, tag or commit; None for the default branch and local files.
        dtype: "float32", "float16", "bfloat16", or "auto": float32 on CPU, elsewhere the
            checkpoint's own.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto".
        quantization: None, "4bit" or "8bit" (needs bitsandbytes and CUDA).
        trust_remote_code: Run code that comes with the checkpoint. Off unless asked for.
    """

    id: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    quantization: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Refuse values that nothing understands.

        Raises:
            UserError: On an unknown dtype or quantization.
        """
        if self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        if self.quantization not in (None, *QUANTIZATIONS):
            raise UserError(
                f"quantization {self.quantization!r} is none of {', '.join(QUANTIZATIONS)}"
            )

    @property
    def slug(self) -> str:
        """Short lower-case name, safe in paths and in registered model names."""
        name = DEMO_NAME if self.id == DEMO else Path(self.id).name.removesuffix(".gguf")
        return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "model"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


def resolve_device(spec: ModelSpec) -> torch.device:
    """Return the device that "auto" means here, or the one asked for.

    Raises:
        UserError: If torch knows no such device or CUDA is not there.
    """
    if spec.device != "auto":
        try:
            device = torch.device(spec.device)
        except RuntimeError:
            raise UserError(f"device {spec.device!r}: give auto, cpu, cuda or mps") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"device {spec.device}: torch finds no CUDA here; take auto or cpu")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
