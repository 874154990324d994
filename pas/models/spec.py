"""The specification of a model: which one, and with which dtype, device and quantization."""

import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pas.errors import UserError

if TYPE_CHECKING:
    import torch  # not at run time: the help of the command line does without torch

DEMO = "demo"
DEMO_NAME = "SmolLM2-135M-Instruct"
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Quantization = Literal["4bit", "8bit"]
EVERY_GPU = "all"
Site = Literal["residual", "attention", "mlp", "mlp_norm"]
SITES: tuple[Site, ...] = get_args(Site)


@dataclass(frozen=True)
class ModelSpec:
    """Which model to load, and how. The description of each field is in its metadata."""

    id: str = field(
        metadata={"description": "demo, hub id, local folder in hub layout, or GGUF file."}
    )
    revision: str | None = field(
        default=None,
        metadata={"description": "Hub branch, tag or commit of the model; its default branch."},
    )
    dtype: Dtype = field(
        default="auto",
        metadata={
            "description": "Of the weights; auto is float32 on a CPU, elsewhere the checkpoint's."
        },
    )
    device: str = field(
        default="auto",
        metadata={
            "description": "auto, cpu, cuda, cuda:1 or mps; all for a model larger than one GPU, "
            "which puts its blocks on every GPU."
        },
    )
    quantization: Quantization | None = field(
        default=None,
        metadata={"description": "Of the weights, when they are loaded; needs bitsandbytes."},
    )
    trust_remote_code: bool = field(
        default=False, metadata={"description": "Run code that comes with the model."}
    )

    # Read by pydantic, which would otherwise ignore a misspelt field of a recipe.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Check dtype and quantization.

        Raises:
            UserError: If one of them is unknown.
        """
        for name, value, known in (
            ("dtype", self.dtype, get_args(Dtype)),
            ("quantization", self.quantization, (None, *get_args(Quantization))),
        ):
            if value not in known:
                names = ", ".join(filter(None, known))
                raise UserError(f"{name} {value!r} is not one of {names}")

    @property
    def slug(self) -> str:
        """A short lower-case name for paths and for names of registered models."""
        name = DEMO_NAME if self.id == DEMO else Path(self.id).name.removesuffix(".gguf")
        return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "model"

    @property
    def located(self) -> "ModelSpec":
        """The same model, found from any folder: a local one has its absolute path."""
        path = Path(self.id).expanduser()
        if self.id == DEMO or not path.exists():
            return self
        return replace(self, id=os.path.abspath(path))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


def resolve_device(spec: ModelSpec) -> "torch.device":
    """Return the torch device; "auto" is CUDA, MPS or the CPU, the first that is available.

    For "all" this is the device of the first blocks.

    Raises:
        UserError: If torch does not know the device, or CUDA is requested and not available.
    """
    import torch

    if spec.device not in ("auto", EVERY_GPU):
        try:
            device = torch.device(spec.device)
        except RuntimeError:
            raise UserError(f"device {spec.device!r}: give auto, all, cpu, cuda or mps") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"device {spec.device}: torch finds no CUDA here; give auto or cpu")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
