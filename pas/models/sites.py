"""Where a vector is read and written: the four sites of a decoder block, per architecture.

docs/method.md, "Where a vector is read and written". Layer L is decoder block L, counted from 0.
Layer -1 of the residual stream is the embedding output, which is the input of block 0.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from pas.errors import UserError
from pas.models.spec import SITES as SITES
from pas.models.spec import Site as Site

EMBEDDING = -1

_BLOCKS = ("layers", "h", "blocks")
_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "norm_f")
_PARTS: dict[Site, tuple[str, ...]] = {
    "residual": ("",),
    "attention": ("self_attn", "attn", "attention"),
    "mlp": ("mlp", "feed_forward", "block_sparse_moe"),
    # Llama's name for the norm before the MLP is, in Gemma, the norm after the attention.
    "mlp_norm": ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2"),
}


class UnsupportedArchitectureError(Exception):
    """The shared-prefix engine does not cover this model. Plain hooks give the same results."""


def text_decoder(model: Any) -> nn.Module:
    """Return the part of a model that reads token ids and returns the last hidden states.

    It has the blocks and the final norm but not the output head. In a model for text and images it
    is the language model, without the part that reads images.

    Args:
        model: A transformers model.
    """
    decoder: nn.Module = model.get_decoder()
    return decoder


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """Return the model's decoder blocks in order.

    Raises:
        UserError: If the model has no list of blocks under a known name.
    """
    decoder = text_decoder(model)
    for name in _BLOCKS:
        blocks = getattr(decoder, name, None)
        if isinstance(blocks, nn.ModuleList) and len(blocks):
            return blocks
    raise UserError(
        f"{type(decoder).__name__} has no decoder blocks under {', '.join(_BLOCKS)}; "
        "this architecture is not supported"
    )


def site_module(model: nn.Module, layer: int, site: Site) -> nn.Module:
    """Return the module whose output is the site at decoder block `layer`.

    Raises:
        UserError: If there is no such block or the block has no such part.
    """
    blocks = decoder_blocks(model)
    if not 0 <= layer < len(blocks):
        raise UserError(
            f"layer {layer} does not exist: the model has layers 0 to {len(blocks) - 1}"
        )
    for name in _PARTS[site]:
        module = getattr(blocks[layer], name, None) if name else blocks[layer]
        if isinstance(module, nn.Module):
            return module
    raise UserError(
        f"{type(blocks[layer]).__name__} has no site {site!r} (no module named "
        f"{' or '.join(_PARTS[site])}); use another site"
    )


def final_norm(model: nn.Module) -> nn.Module:
    """Return the norm between the last block and the output head.

    Raises:
        UnsupportedArchitectureError: If the model has no norm under a known name.
    """
    for name in _NORMS:
        norm = getattr(text_decoder(model), name, None)
        if isinstance(norm, nn.Module):
            return norm
    raise UnsupportedArchitectureError(f"{type(model).__name__} has no final norm in {_NORMS}")


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden state [batch, positions, d_model] from a module's output.

    Raises:
        TypeError: If the output is not a tensor or a tuple that starts with one.
    """
    hidden = output[0] if isinstance(output, tuple) else output
    if not isinstance(hidden, torch.Tensor):
        raise TypeError(
            f"expected a tensor or a tuple that starts with one, got {type(output).__name__}"
        )
    return hidden


@contextmanager
def observing(
    model: nn.Module, layers: tuple[int, ...], site: Site, see: Callable[[int, torch.Tensor], None]
) -> Iterator[None]:
    """Within the context, call `see` with the hidden states of every layer's site.

    Args:
        model: The model.
        layers: Decoder blocks. Layer -1, for the residual stream only, is the input of block 0.
        site: Where in the block.
        see: Takes a layer and its hidden states [batch, positions, d_model].

    Raises:
        UserError: If the model has no such layer or site.
    """
    with ExitStack() as stack:
        for layer in layers:
            if layer == EMBEDDING and site == "residual":
                block = decoder_blocks(model)[0]

                def before(_: nn.Module, args: Any, kwargs: Any) -> None:
                    see(EMBEDDING, args[0] if args else kwargs["hidden_states"])

                stack.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
            else:

                def after(_: nn.Module, __: Any, output: Any, index: int = layer) -> None:
                    see(index, hidden_of(output))

                module = site_module(model, layer, site)
                stack.callback(module.register_forward_hook(after).remove)
        yield


@contextmanager
def editing(
    model: nn.Module,
    layer: int,
    site: Site,
    edit: Callable[[torch.Tensor], torch.Tensor],
    unless: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Within the context, replace the site's hidden states by `edit(hidden)`.

    Args:
        model: The model.
        layer: Decoder block, counted from 0.
        site: Where in the block.
        edit: From and to [batch, positions, d_model].
        unless: Whether it is right that no forward pass went through the site.

    Raises:
        UserError: If the model has no such layer or site.
        RuntimeError: On leaving the context, if no forward pass went through the site.
    """
    fired = False

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal fired
        fired = True
        edited = edit(hidden_of(output))
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = site_module(model, layer, site).register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
    if not fired and not unless():
        raise RuntimeError(f"the hook at layer {layer}, site {site!r} never fired")
