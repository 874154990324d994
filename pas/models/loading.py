"""Load models and tokenizers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from pas.errors import UserError
from pas.models.cache import default_cache_dir
from pas.models.files import model_folder, resolve_dtype
from pas.models.fingerprint import fingerprint
from pas.models.sites import decoder_blocks
from pas.models.spec import ModelSpec, resolve_device


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """A tokenizer and what is known about its model without loading weights.

    Attributes:
        tokenizer: The transformers tokenizer.
        fingerprint: The model's fingerprint, see `pas.models.fingerprint.fingerprint`.
        context_window: Longest prompt in tokens; None if the configuration sets no limit.
        n_layers: Number of decoder blocks.
        d_model: Width of the residual stream.
        n_parameters: Approximate number of parameters, for estimates of the work.
        bos_token_id: The start token of the model's configuration, if it has one.
    """

    tokenizer: Any
    fingerprint: str
    context_window: int | None
    n_layers: int
    d_model: int
    n_parameters: int
    bos_token_id: int | None = None


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready for forward passes.

    Attributes:
        model: The transformers model, in eval mode, on its device.
        info: The tokenizer and what is known without the weights.
        spec: The specification from which the model was loaded.
        lock: Held while the model runs, because hooks change the state of the shared module.
    """

    model: PreTrainedModel
    info: ModelInfo
    spec: ModelSpec
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self.info.tokenizer

    @property
    def fingerprint(self) -> str:
        """32 hex characters, see `pas.models.fingerprint.fingerprint`."""
        return self.info.fingerprint

    @property
    def device(self) -> torch.device:
        """The device of the weights and of inputs."""
        return torch.device(self.model.device)

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(decoder_blocks(self.model))

    @property
    def pad_id(self) -> int:
        """A valid token id for masked positions."""
        for candidate in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if candidate is not None:
                return int(candidate)
        return 0


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn the exceptions that transformers raises on damaged files into a UserError.

    Raises:
        UserError: If a file of the model cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(
            f"--model {name}: its files cannot be read ({type(error).__name__}: {reason}). "
            "Download or convert the model again, or give another one."
        ) from error


def load_model_info(spec: ModelSpec, cache_dir: Path) -> ModelInfo:
    """Load the tokenizer and read the configuration. Weights are not loaded.

    Args:
        spec: The model.
        cache_dir: Folder for converted GGUF models and file hashes.

    Raises:
        UserError: If there is no such model or its files are damaged.
    """
    options = {"trust_remote_code": spec.trust_remote_code}
    with _reading(spec.id):
        folder = model_folder(spec, cache_dir)
        config = AutoConfig.from_pretrained(folder, **options).get_text_config()
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    weights = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    stored = torch.finfo(getattr(torch, str(config.dtype or "float32").removeprefix("torch.")))
    return ModelInfo(
        tokenizer=tokenizer,
        fingerprint=fingerprint(spec, cache_dir),
        context_window=getattr(config, "max_position_embeddings", None),
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_parameters=weights * 8 // stored.bits,
        bos_token_id=getattr(config, "bos_token_id", None),
    )


def load_model(spec: ModelSpec | str, cache_dir: Path | None = None) -> LoadedModel:
    """Load a model for inference.

    Args:
        spec: The model, or its id alone: "demo", a hub id, a folder or a GGUF file.
        cache_dir: Folder for converted GGUF models and file hashes; the user's cache folder by
            default.

    Raises:
        UserError: If there is no such model or device, its files are damaged, or 4-bit or 8-bit
            quantization is requested and bitsandbytes is not installed.
    """
    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    cache_dir = cache_dir or default_cache_dir()
    info = load_model_info(spec, cache_dir)  # first, because it refuses unreadable files
    folder = model_folder(spec, cache_dir)
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    config = AutoConfig.from_pretrained(folder, **options)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        # The fused kernels do not cap attention logits, which the model was trained with.
        options["attn_implementation"] = "eager"
    if spec.quantization:
        options["quantization_config"] = _quantized(spec)
        options["device_map"] = {"": resolve_device(spec)}
    dtype = resolve_dtype(spec, folder)
    with _reading(spec.id):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
    if not spec.quantization:
        model = model.to(resolve_device(spec))
    return LoadedModel(model.eval(), info, spec)


def _quantized(spec: ModelSpec) -> Any:
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"quantization {spec.quantization} needs bitsandbytes. Install it with "
            "pip install 'painless-steering[quantized]'."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=spec.quantization == "4bit", load_in_8bit=spec.quantization == "8bit"
    )
