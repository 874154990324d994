"""Which bias of a model adds a constant at a site, and the configuration under which it is there.

Where the last projection of a block's MLP is added to the residual stream as it is, its bias is
added to the block's output at every position. Most models of today have no such bias, but a
configuration that can switch one on, or a relative that computes the same and has one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pas.errors import UserError
from pas.models.sites import decoder_blocks, site_module
from pas.models.spec import Site
from pas.steering.export.additions import Addition
from pas.steering.export.outline import ModelOutline

# The last projection of a part of a block, under the names of the architectures.
_LAST: dict[Site, tuple[str, ...]] = {
    "mlp": ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out"),
    "attention": ("o_proj", "c_proj", "dense", "out_proj"),
}
_SWITCH: dict[Site, str] = {"mlp": "mlp_bias", "attention": "attention_bias"}
_OF_A_LLAMA = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps"),
    *("max_position_embeddings", "rope_parameters", "initializer_range", "tie_word_embeddings"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "dtype"),
)


@dataclass(frozen=True)
class BiasPlan:
    """How a model gets its biases.

    Attributes:
        config: The configuration to load the weights with; the model's own if it has the biases.
        names: The biases, in the order of the additions.
        remarks: What else is changed, in sentences.
    """

    config: Any
    names: tuple[str, ...]
    remarks: tuple[str, ...]


def plan_biases(outline: ModelOutline, additions: list[Addition]) -> BiasPlan:
    """Return the configuration under which every addition has a bias.

    Raises:
        UserError: If there is none.
    """
    config, model, remarks = outline.config, outline.skeleton, []
    for addition in additions:
        if bias_of(model, addition) is not None:
            continue
        found = _with_a_bias(config, addition)
        if found is None:
            raise _impossible(outline, addition)
        config, model, remark = found
        remarks.append(remark)
    names = tuple(_name_of(model, addition) for addition in additions)
    return BiasPlan(config, names, tuple(remarks))


def bias_of(model: nn.Module, addition: Addition) -> nn.Parameter | None:
    """Return the bias that is added at the place of an addition, [d_model]; None if it is absent.

    Raises:
        UserError: If the model has no such layer or site.
    """
    # Before it is added to the residual stream, the MLP's output is at the site `mlp`.
    part: Site = "mlp" if addition.site == "residual" else addition.site
    module = site_module(model, addition.layer, part)
    owners = [module] if part == "mlp_norm" else [getattr(module, n, None) for n in _LAST[part]]
    for owner in owners:
        bias = getattr(owner, "bias", None)
        if isinstance(bias, nn.Parameter):
            return bias
    return None


def _name_of(model: nn.Module, addition: Addition) -> str:
    wanted = bias_of(model, addition)
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)


def _with_a_bias(config: Any, addition: Addition) -> tuple[Any, nn.Module, str] | None:
    """Return a configuration whose model has the bias, that model's skeleton, and a remark."""
    from transformers import AutoModelForCausalLM

    for change in (_switched, _as_llama):
        changed = change(config, "attention" if addition.site == "attention" else "mlp")
        if changed is not None:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(changed[0])
            if bias_of(model, addition) is not None:
                return changed[0], model, changed[1]
    return None


def _switched(config: Any, part: Site) -> tuple[Any, str] | None:
    """Return the configuration with the biases of a part, if it can have them."""
    name = _SWITCH[part]
    if not hasattr(config, name):
        return None
    changed = type(config)(**config.to_dict() | {name: True})
    return changed, f"config.json has {name}: true. The other biases that come with it are 0."


def _as_llama(config: Any, part: Site) -> tuple[Any, str] | None:
    """Return the configuration of a model that computes the same and can have biases.

    Mistral is a Llama whose attention may have a window. Qwen2 is one whose queries, keys and
    values have biases. SmolLM3 is a Llama that may have windows.
    """
    from transformers import LlamaConfig, SmolLM3Config

    kind = config.model_type
    if kind not in ("mistral", "qwen2"):
        return None
    fields = {name: getattr(config, name, None) for name in _OF_A_LLAMA}
    fields = {name: value for name, value in fields.items() if value is not None}
    fields |= {"mlp_bias": True, "attention_bias": kind == "qwen2" or part == "attention"}
    layers, window = config.num_hidden_layers, config.sliding_window
    types = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    if window and "sliding_attention" in types:
        windows = {"use_sliding_window": True, "sliding_window": window, "layer_types": types}
        changed: Any = SmolLM3Config(**fields | windows, no_rope_layers=[1] * layers)
    else:
        changed = LlamaConfig(**fields)
    return changed, (
        f"It is written as {changed.model_type}, which computes the same as {kind} and has the "
        "biases that the vector needs. The others are 0."
    )


def _impossible(outline: ModelOutline, addition: Addition) -> UserError:
    block, kind = decoder_blocks(outline.skeleton)[addition.layer], outline.config.model_type
    if addition.site != "mlp_norm" and hasattr(block, "post_feedforward_layernorm"):
        reason = f"{kind} normalises what its MLP adds, so a bias does not come through as it is"
    else:
        reason = f"{kind} has no bias there, and none that its configuration can switch on"
    return UserError(
        f"model {outline.spec.id}: {reason}. Export to gguf, lm-eval or another format that adds "
        "to the hidden state itself."
    )
