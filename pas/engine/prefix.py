"""Shared-prefix steering: one prefill, then a few tokens for every configuration.

Steering changes only the tail of a sequence, so the keys and values of all earlier tokens are the
same in every configuration (docs/method.md, "Where a vector is read and written"). The prefill runs
many sequences as one trie of tokens and records the keys and values of every block. The walk then
runs the blocks once with a growing set of rows (configuration x tail token). Each row attends to
the recorded prefix and to its own tail. Only the attention function is replaced; everything else is
computed by the model's own modules.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from pas.engine.passes import KeyValues, Pass, Rows, groups_of, running
from pas.engine.trie import Pack, Tokens, lay_out
from pas.models.loading import LoadedModel
from pas.models.sites import (
    EMBEDDING,
    Site,
    UnsupportedArchitectureError,
    decoder_blocks,
    editing,
    final_norm,
    hidden_of,
    text_decoder,
)

_DROPPED = ("attention_mask", "past_key_values", "past_key_value", "use_cache", "cache_position")
_ENOUGH = 0.8


class Root(NamedTuple):
    """The result of running the leading tokens that all sequences share.

    Attributes:
        recorded: Keys and values by attention module; empty if no tokens are shared.
        n_tokens: Number of tokens.
    """

    recorded: dict[nn.Module, KeyValues]
    n_tokens: int


_NO_ROOT = Root({}, 0)
_roots: "WeakKeyDictionary[nn.Module, tuple[Tokens, Root]]" = WeakKeyDictionary()


class Steering(NamedTuple):
    """One configuration: `delta` [d_model] is added at decoder block `layer`."""

    layer: int
    delta: torch.Tensor


class Conditions(NamedTuple):
    """The configurations under which questions are scored, and how they are scored.

    Attributes:
        rows: The configurations; deltas [d_model] are direction times strength.
        site: Where the deltas are added.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        normalise: Letter scoring: log-probabilities over the whole vocabulary.
    """

    rows: Sequence[Steering] = ()
    site: Site = "residual"
    length_norm: bool = True
    normalise: bool = False


class Stem(NamedTuple):
    """The tokens of an item in a pack: those before the steered ones, and the steered ones.

    Attributes:
        prefix: [n_prefix] int64 indices in the pack of the tokens before the steered ones.
        tail: [tail] int64 indices in the pack of the steered tokens.
        ancestors: [tail, tail] bool: the tail tokens that each one attends to, itself included.
    """

    prefix: np.ndarray
    tail: np.ndarray
    ancestors: np.ndarray


@dataclass
class Prefill:
    """The result of the unsteered pass over a pack.

    Attributes:
        pack: The tokens.
        state: Keys and values.
        final: [n_tokens, d_model], hidden states after the final norm.
        place: [n_tokens] int64, the row of a token of the pack in `hidden`.
        hidden: For each block index the block's output [n_kept, d_model]; -1 is the embedding.
        kwargs: For each block index the keyword arguments with which the block was called.
    """

    pack: Pack
    state: Pass
    final: torch.Tensor
    place: torch.Tensor
    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    kwargs: dict[int, dict[str, Any]] = field(default_factory=dict)


def shared_root(model: LoadedModel, common: Tokens) -> Root:
    """Run the leading tokens that all sequences share, once for all packs and calls.

    The last root of a model is kept. It is used again if it covers at least 80 % of `common`, as
    with the shards of one few-shot prefix.

    Args:
        model: The model, inside `shared_prefix`.
        common: The leading tokens that the sequences share; may be empty.

    Returns:
        The root of `common` or of its beginning.
    """
    if not common:
        return _NO_ROOT
    tokens, root = _roots.get(model.model, ((), _NO_ROOT))
    if len(tokens) < _ENOUGH * len(common) or common[: len(tokens)] != tokens:
        recorded = prefill(model, lay_out([common]), _NO_ROOT, []).state.recorded
        root = Root(recorded, len(common))
        _roots[model.model] = common, root
    return root


def forget_roots() -> None:
    """Free the keys and values that `shared_root` keeps."""
    _roots.clear()


def prefill(model: LoadedModel, pack: Pack, root: Root, keep: Sequence[np.ndarray]) -> Prefill:
    """Run a pack unsteered and record what the walk needs.

    Args:
        model: The model, inside `shared_prefix`.
        pack: The sequences.
        root: From `shared_root`: the `pack.root` leading tokens, which are not in the pack.
        keep: For each item the indices in the pack of the tokens that will be steered.

    Raises:
        UnsupportedArchitectureError: If a block does not use transformers' attention interface.
    """
    device, blocks = model.device, decoder_blocks(model.model)
    state = Pass(int(pack.depths.max()) + 1, groups_of(pack, device), root.recorded)
    kept = np.unique(np.concatenate(keep)) if keep else np.empty(0, np.int64)
    place = np.zeros(len(pack.tokens), np.int64)
    place[kept] = np.arange(len(kept))
    chosen = torch.from_numpy(kept).to(device)
    done = Prefill(pack, state, torch.empty(0), torch.from_numpy(place).to(device))
    handles = []
    for index, block in enumerate(blocks if keep else ()):

        def before(module: nn.Module, args: Any, kwargs: Any, layer: int = index) -> None:
            bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
            bound.update(bound.pop("kwargs", {}))
            hidden = bound.pop("hidden_states")
            if layer == 0:
                done.hidden[EMBEDDING] = hidden[0, chosen.to(hidden.device)]
            done.kwargs[layer] = bound

        def after(_: nn.Module, __: Any, output: Any, layer: int = index) -> None:
            hidden = hidden_of(output)
            done.hidden[layer] = hidden[0, chosen.to(hidden.device)]

        handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(block.register_forward_hook(after))
    ids = torch.from_numpy(pack.tokens).to(device)[None]
    try:
        with running(state):
            done.final = text_decoder(model.model)(
                # Without a mask of ones, transformers would look for packed sequences.
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                position_ids=torch.from_numpy(pack.depths).to(device)[None],
                use_cache=False,
            ).last_hidden_state[0]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if state.recorded:
            raise
        # The block has its own attention code, which failed on a mask by depth.
        raise UnsupportedArchitectureError("the blocks have attention code of their own") from error
    finally:
        for handle in handles:
            handle.remove()
    if len(state.recorded) != len(blocks):
        raise UnsupportedArchitectureError("some blocks have attention code of their own")
    return done


def walk(
    model: LoadedModel, done: Prefill, stems: Sequence[Stem], rows: Sequence[Steering], site: Site
) -> torch.Tensor:
    """Run every configuration over the recorded prefixes of some items.

    Args:
        model: The model, inside `shared_prefix`.
        done: From `prefill`, with the stems' tails in `keep`.
        stems: Items of the pack. Shorter tails are padded with their first token.
        rows: The configurations, sorted by layer.
        site: Where the deltas are added.

    Returns:
        [n_items, n_rows, tail, d_model] in the model's dtype, after the final norm.

    Raises:
        UnsupportedArchitectureError: If a block takes an argument that cannot be repeated by row.
    """
    device, width = model.device, done.final.shape[-1]
    tail = max(len(stem.tail) for stem in stems)
    laid = [_padded(stem, max(len(s.prefix) for s in stems), tail) for stem in stems]
    prefix, real, tails, ancestors = (
        torch.from_numpy(np.stack(part)).to(device) for part in zip(*laid, strict=True)
    )
    depths = torch.from_numpy(done.pack.depths).to(device)[tails]
    blocks = decoder_blocks(model.model)
    hidden = done.final.new_empty(len(stems), 0, width)
    done.state.masks.clear()
    for index in range(rows[0].layer, len(blocks)):
        deltas = [row.delta for row in rows if row.layer == index]
        if deltas:
            source = done.hidden[index if site == "residual" else index - 1]
            joining = source[done.place[tails].to(source.device)].repeat(1, len(deltas), 1)
            hidden = hidden.to(joining.device)
            shift = torch.stack(deltas).to(hidden).repeat_interleave(tail, dim=0)
            shift = shift.expand(len(stems), -1, -1)
        if deltas and site != "residual":
            # The delta is added inside the block, so new rows start from the block's input.
            added = torch.cat([torch.zeros_like(hidden), shift], dim=1)
            hidden = torch.cat([hidden, joining], dim=1)
        if hidden.shape[1]:
            steered = Rows(hidden.shape[1] // tail, prefix, real, depths, ancestors)
            if deltas and site != "residual":
                with editing(model.model, index, site, partial(_sum, added)):
                    hidden = _block(done, blocks[index], index, hidden, steered, tails)
            else:
                hidden = _block(done, blocks[index], index, hidden, steered, tails)
        if deltas and site == "residual":
            hidden = torch.cat([hidden, joining + shift], dim=1)
    normed: torch.Tensor = final_norm(model.model)(hidden)
    return normed.view(len(stems), len(rows), tail, width)


def _sum(added: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return hidden + added.to(hidden.device)


def _padded(stem: Stem, n_prefix: int, tail: int) -> tuple[np.ndarray, ...]:
    """Return prefix, mask of the prefix, tail and ancestors, padded to common sizes."""
    n_prefix = max(n_prefix, 1)  # an empty axis has no maximum
    more, short = n_prefix - len(stem.prefix), tail - len(stem.tail)
    ancestors = np.pad(stem.ancestors, ((0, short), (0, short)))
    np.fill_diagonal(ancestors, True)
    return (
        np.pad(stem.prefix, (0, more)),
        np.arange(n_prefix) < len(stem.prefix),
        np.concatenate([stem.tail, np.full(short, stem.tail[0])]),
        ancestors,
    )


def _block(
    done: Prefill,
    block: nn.Module,
    index: int,
    hidden: torch.Tensor,
    rows: Rows,
    tails: torch.Tensor,
) -> torch.Tensor:
    """Run one block over [n_items, n * tail, d_model]."""
    done.state.rows = rows
    kwargs = _replayed(done.kwargs[index], tails, rows.n)
    try:
        with running(done.state):
            return hidden_of(block(hidden_states=hidden, **kwargs))
    finally:
        done.state.rows = None


def _replayed(kwargs: dict[str, Any], tails: torch.Tensor, n_rows: int) -> dict[str, Any]:
    """Return the block's keyword arguments for the tail's tokens, repeated for every row."""

    def tiled(name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, tuple):
            return tuple(tiled(name, v) for v in value)
        if name in ("position_embeddings", "position_ids"):
            part = value[0][tails.to(value.device)]
            return part.repeat(1, n_rows, *[1] * (part.ndim - 2))
        raise UnsupportedArchitectureError(f"the blocks take an argument {name!r}")

    passed = {k: v for k, v in kwargs.items() if k not in _DROPPED}
    return {"attention_mask": None, **{name: tiled(name, value) for name, value in passed.items()}}
