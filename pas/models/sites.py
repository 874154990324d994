"""Where a vector is read and written: the four sites of a decoder block, per architecture.

METHOD.md, "Prompt, scoring, injection", sites. Layer L means decoder block L, counted from 0;
layer -1 of the residual stream is the embedding output, that is, what block 0 reads.
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

_BLOCKS = ("model.layers", "model.language_model.layers", "transformer.h", "gpt_neox.layers",
           "model.decoder.layers", "transformer.blocks", "backbone.layers")  # fmt: skip
_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "norm_f")
_PARTS: dict[Site, tuple[str, ...]] = {
    "residual": ("",),
    "attention": ("self_attn", "attn", "attention"),
    "mlp": ("mlp", "feed_forward", "block_sparse_moe"),
    # Gemma norms the attention's output under the name that Llama gives to the MLP's input norm.
    "mlp_norm": ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2"),
}


class UnsupportedArchitectureError(Exception):
    """The model does something the row walk does not cover; plain hooks give the same answer."""


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """Return the model's decoder blocks in order.

    Raises:
        UserError: If the architecture keeps them where we do not look.
    """
    for path in _BLOCKS:
        found = _attribute(model, path)
        if isinstance(found, nn.ModuleList) and len(found):
            return found
    raise UserError(
        f"{type(model).__name__} keeps its decoder blocks in none of {', '.join(_BLOCKS)}; "
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
        found = _attribute(blocks[layer], name) if name else blocks[layer]
        if isinstance(found, nn.Module):
            return found
    raise UserError(
        f"{type(blocks[layer]).__name__} has no site {site!r}: looked for {_PARTS[site]}"
    )


def final_norm(model: nn.Module) -> nn.Module:
    """Return the norm between the last block and the output head.

    Raises:
        UnsupportedArchitectureError: If it has none of the usual names.
    """
    for name in _NORMS:
        found = getattr(model.base_model, name, None)
        if isinstance(found, nn.Module):
            return found
    raise UnsupportedArchitectureError(f"{type(model).__name__} has no final norm in {_NORMS}")


def _attribute(module: nn.Module, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden state of a module's output, which may be a tensor or a tuple."""
    hidden = output[0] if isinstance(output, tuple) else output
    if not isinstance(hidden, torch.Tensor):
        raise TypeError(f"expected a tensor or a tuple with one first, got {type(output).__name__}")
    return hidden


@contextmanager
def observing(
    model: nn.Module, layers: tuple[int, ...], site: Site, see: Callable[[int, torch.Tensor], None]
) -> Iterator[None]:
    """Within the context call `see(layer, hidden [batch, positions, d_model])` as each site fires.

    Layer -1 is seen at block 0's input and exists for the residual stream only.
    """
    with ExitStack() as stack:
        for layer in layers:
            if layer == EMBEDDING and site == "residual":
                block = decoder_blocks(model)[0]

                def before(_: nn.Module, args: Any, kwargs: Any) -> None:
                    see(EMBEDDING, args[0] if args else kwargs["hidden_states"])

                stack.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
            else:

                def after(_: nn.Module, __: Any, output: Any, at: int = layer) -> None:
                    see(at, hidden_of(output))

                module = site_module(model, layer, site)
                stack.callback(module.register_forward_hook(after).remove)
        yield


@contextmanager
def editing(
    model: nn.Module, layer: int, site: Site, edit: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Within the context replace the site's hidden state by `edit(hidden)`.

    Raises:
        RuntimeError: On leaving, if no forward pass went through the site.
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
    if not fired:
        raise RuntimeError(f"the hook at layer {layer}, site {site!r} never fired")
