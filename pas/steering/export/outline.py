"""What an export needs to know of a model: its outline, without weights."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from pas.errors import UserError
from pas.models.cache import default_cache_dir
from pas.models.files import model_folder
from pas.models.loading import ModelInfo, load_model_info
from pas.models.sites import site_module
from pas.models.spec import ModelSpec, Site
from pas.steering.vector import SteeringVector


@dataclass(frozen=True)
class ModelOutline:
    """A model's configuration and shape.

    Attributes:
        spec: Which model.
        folder: Its files in hub layout.
        config: Its transformers configuration.
        info: The tokenizer and what else is known without the weights.
        cache_dir: Folder for converted GGUF models and file hashes.
    """

    spec: ModelSpec
    folder: Path
    config: Any
    info: ModelInfo
    cache_dir: Path

    @cached_property
    def skeleton(self) -> nn.Module:
        """The model without numbers in it, on torch's meta device."""
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

        if type(self.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise UserError(
                f"model {self.spec.id}: transformers has no language model of type "
                f"{self.config.model_type}; export to another format"
            )
        with torch.device("meta"):
            model: nn.Module = AutoModelForCausalLM.from_config(
                self.config, trust_remote_code=self.spec.trust_remote_code
            )
        return model

    def hook_point(self, layer: int, site: Site) -> str:
        """Return the name of the module whose output is the site, as the base model has it.

        Raises:
            UserError: If the model has no such layer or site.
        """
        wanted = site_module(self.skeleton, layer, site)
        base: Any = self.skeleton.base_model
        return next(str(name) for name, module in base.named_modules() if module is wanted)

    def check(self, vector: SteeringVector) -> None:
        """Check that a vector can steer the model.

        Raises:
            UserError: If the model has no such layer, another width or another architecture.
        """
        found, width = f"model {self.spec.id}", len(vector.direction)
        if width != self.info.d_model:
            reason = f"{found} has {self.info.d_model} dimensions, the vector {width}"
        elif vector.layer >= self.info.n_layers:
            reason = (
                f"the vector steers layer {vector.layer}, which does not exist: {found} has layers "
                f"0 to {self.info.n_layers - 1}"
            )
        elif vector.architecture and vector.architecture != self.info.architecture:
            reason = (
                f"{found} is a {self.info.architecture}, the vector's model a {vector.architecture}"
            )
        else:
            return
        raise UserError(f"{reason}: give the model that the vector was made on")


def read_outline(spec: ModelSpec, cache_dir: Path | None = None) -> ModelOutline:
    """Return the outline of a model. Weights are found and hashed, not loaded.

    Args:
        spec: The model.
        cache_dir: Folder for converted GGUF models and file hashes; the user's cache folder by
            default.

    Raises:
        UserError: If there is no such model or its files are damaged.
    """
    cache_dir = cache_dir or default_cache_dir()
    info = load_model_info(spec, cache_dir)
    folder = model_folder(spec, cache_dir)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    return ModelOutline(spec, folder, config, info, cache_dir)
