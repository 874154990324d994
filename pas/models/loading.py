"""Load models and tokenizers."""

import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from pas.errors import UserError
from pas.models.cache import default_cache_dir
from pas.models.files import model_folder, resolve_dtype, stored_dtype, weight_files
from pas.models.fingerprint import fingerprint
from pas.models.sites import decoder_blocks
from pas.models.spec import EVERY_GPU, ModelSpec, resolve_device

if TYPE_CHECKING:
    # transformers and its model classes take seconds to import: functions do, as far as they need.
    from transformers import PreTrainedModel


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
        architecture: transformers' name of the text model's type, such as "llama".
        bos_token_id: The start token of the model's configuration, if it has one.
        vocabulary: Number of tokens that the model knows; None if the configuration has none.
    """

    tokenizer: Any
    fingerprint: str
    context_window: int | None
    n_layers: int
    d_model: int
    n_parameters: int
    architecture: str
    bos_token_id: int | None = None
    vocabulary: int | None = None


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready for forward passes.

    Attributes:
        model: The transformers model, in eval mode, on its device.
        info: The tokenizer and what is known without the weights.
        spec: The specification from which the model was loaded.
        lock: Held while the model runs, because hooks change the state of the shared module.
    """

    model: "PreTrainedModel"
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
    def architecture(self) -> str:
        """The name that transformers gives the text model's type, such as "llama"."""
        return self.info.architecture

    @property
    def device(self) -> torch.device:
        """The device of inputs. Further blocks may be on other devices."""
        return torch.device(self.model.get_input_embeddings().weight.device)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """The devices that have weights."""
        return tuple({p.device: None for p in self.model.parameters()})

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(decoder_blocks(self.model))

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text, by the model's generation settings."""
        own = self.model.generation_config.eos_token_id
        return frozenset((own,) if isinstance(own, int) else own or ())

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
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"--model {name}: a .bin file is damaged or holds more than tensors, which could run "
            "code, so it is not loaded. Give a copy of the model in safetensors."
        ) from error
    except ImportError as error:
        raise UserError(
            f"--model {name}: it needs a package that is not installed ({_first_line(error)}). "
            "Install it, or give another model."
        ) from error
    # It takes for granted what the files hold, so whatever Python raises may come.
    except Exception as error:
        raise UserError(
            f"--model {name}: its files cannot be read ({type(error).__name__}: "
            f"{_first_line(error)}). Download or convert the model again, or give another one."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def load_model_info(spec: ModelSpec, cache_dir: Path) -> ModelInfo:
    """Load the tokenizer and read the configuration. Weights are not loaded.

    Args:
        spec: The model.
        cache_dir: Folder for converted GGUF models and file hashes.

    Raises:
        UserError: If there is no such model or its files are damaged.
    """
    from transformers import AutoConfig, AutoTokenizer

    options = {"trust_remote_code": spec.trust_remote_code}
    with _reading(spec.id):
        folder = model_folder(spec, cache_dir)
        weights = weight_files(spec, folder)
        _check_heads(weights)
        config = AutoConfig.from_pretrained(folder, **options).get_text_config()
        if config.num_hidden_layers < 1 or config.hidden_size < 1:
            raise ValueError(
                f"config.json has {config.num_hidden_layers} layers of width {config.hidden_size}"
            )
        _require_sentencepiece(spec, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        bits = torch.finfo(getattr(torch, stored_dtype(folder))).bits
        return ModelInfo(
            tokenizer=tokenizer,
            fingerprint=fingerprint(spec, cache_dir),
            context_window=getattr(config, "max_position_embeddings", None),
            n_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            n_parameters=sum(p.stat().st_size for p in weights) * 8 // bits,
            architecture=config.model_type,
            bos_token_id=getattr(config, "bos_token_id", None),
            vocabulary=getattr(config, "vocab_size", None),
        )


def _check_heads(weights: Sequence[Path]) -> None:
    """Open the files with weights: one that is cut or of another kind is told before the work."""
    for file in weights:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                pass


def _require_sentencepiece(spec: ModelSpec, folder: Path) -> None:
    """Refuse a tokenizer that only sentencepiece can read where it is not installed."""
    only = (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file()
    if only and find_spec("sentencepiece") is None:
        raise UserError(
            f"--model {spec.id}: its tokenizer is a tokenizer.model without a tokenizer.json, and "
            "reading it needs sentencepiece. Install it with "
            "pip install 'painless-steering[sentencepiece]'."
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
    from transformers import AutoConfig

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
    if spec.device == EVERY_GPU:
        options["device_map"] = "auto"
    elif spec.quantization or getattr(config, "quantization_config", None):
        # Quantised weights cannot be moved once they are loaded.
        options["device_map"] = {"": resolve_device(spec)}
    with _reading(spec.id):
        model, report = _auto_class(config).from_pretrained(
            folder, dtype=resolve_dtype(spec, folder), output_loading_info=True, **options
        )
    # transformers would go on with random numbers in their place.
    absent = sorted({*report["missing_keys"]} & {name for name, _ in model.named_parameters()})
    if absent:
        raise UserError(
            f"--model {spec.id}: its files lack {len(absent)} of the model's weights, the first is "
            f"{absent[0]}. Download or convert the model again, or give another one."
        )
    if "device_map" not in options:
        model = model.to(resolve_device(spec))
    places = {*getattr(model, "hf_device_map", {}).values()}
    # Blocks that do not fit have no weights on a device, and are loaded anew in every pass.
    if len(places) > 1 and places & {"cpu", "disk"}:
        raise UserError(
            f"--model {spec.id}: it does not fit on the GPUs. Free their memory, or load it with "
            "another dtype or quantization."
        )
    return LoadedModel(model.eval(), info, spec)


def _auto_class(config: Any) -> Any:
    """Return the class that loads a model that writes text, which may also read images."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    reads_images = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if reads_images and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _quantized(spec: ModelSpec) -> Any:
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"quantization {spec.quantization} needs bitsandbytes. Install it with "
            "pip install 'painless-steering[quantized]'."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=spec.quantization == "4bit", load_in_8bit=spec.quantization == "8bit"
    )
