"""Shared-prefix steering: one prefill, then every configuration as a few rows of tokens.

Steering touches only the tail of a sequence, so the keys and values of all earlier tokens are
the same in every configuration. The prefill runs many sequences as one trie of tokens and records
them, block by block; then the blocks are walked once with a growing set of rows (configuration x
tail token), each attending to the recorded prefix and to its own tail. The model's own modules do
the work: only the attention function is ours.
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
)

_DROPPED = ("attention_mask", "past_key_values", "past_key_value", "use_cache", "cache_position")
_ENOUGH = 0.8


class Root(NamedTuple):
    """Leading tokens that all sequences share, already run.

    Attributes:
        recorded: Keys and values by attention module; none where nothing is shared.
        n_tokens: How many tokens they are of.
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
    """Under which configurations questions are scored, and how.

    Attributes:
        rows: The configurations, deltas [d_model] with strength multiplied in.
        site: Where the deltas are added.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        normalise: Letter scoring: log-probabilities over the whole vocabulary.
    """

    rows: Sequence[Steering] = ()
    site: Site = "residual"
    length_norm: bool = True
    normalise: bool = False


class Stem(NamedTuple):
    """Where an item lies in a pack: what all configurations share, and what each has of its own.

    Attributes:
        prefix: [n_prefix] indices in the pack of the tokens before the steered ones.
        tail: [tail] indices of the steered tokens.
        ancestors: [tail, tail] bool: the tail tokens that each one sees, itself included.
    """

    prefix: np.ndarray
    tail: np.ndarray
    ancestors: np.ndarray


@dataclass
class Prefill:
    """What the unsteered pass over a pack left behind.

    Attributes:
        pack: Its tokens.
        state: Keys and values.
        final: [n_tokens, d_model], after the final norm.
        place: [n_tokens] where a token of the pack is kept in `hidden`.
        hidden: Block index -> [n_kept, d_model], the block's output; -1 is the embedding.
        kwargs: Block index -> the keyword arguments that the block got.
    """

    pack: Pack
    state: Pass
    final: torch.Tensor
    place: torch.Tensor
    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    kwargs: dict[int, dict[str, Any]] = field(default_factory=dict)


def shared_root(model: LoadedModel, common: Tokens) -> Root:
    """Run the leading tokens that all sequences share, once for all packs and calls.

    Args:
        model: Inside `shared_prefix`.
        common: What the sequences at hand share; may be empty.

    Returns:
        Of these tokens, or of fewer where nearly as many were run last time, as for the shards of
        one few-shot prefix.
    """
    if not common:
        return _NO_ROOT
    kept, root = _roots.get(model.model, ((), _NO_ROOT))
    if len(kept) < _ENOUGH * len(common) or common[: len(kept)] != kept:
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
        model: Inside `shared_prefix`.
        pack: The sequences.
        root: From `shared_root`, of the `pack.root` tokens that the pack leaves out.
        keep: Indices in the pack of the tokens that will be steered.

    Raises:
        UnsupportedArchitectureError: If some block has attention code of its own.
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

        def before(module: nn.Module, args: Any, kwargs: Any, at: int = index) -> None:
            bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
            bound.update(bound.pop("kwargs", {}))
            hidden = bound.pop("hidden_states")
            if at == 0:
                done.hidden[EMBEDDING] = hidden[0, chosen]
            done.kwargs[at] = bound

        def after(_: nn.Module, __: Any, output: Any, at: int = index) -> None:
            done.hidden[at] = hidden_of(output)[0, chosen]

        handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(block.register_forward_hook(after))
    ids = torch.from_numpy(pack.tokens).to(device)[None]
    try:
        with running(state):
            done.final = model.model.base_model(
                # A mask of ones, or transformers would look for packed sequences of its own kind.
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
        # Attention code of its own stumbled over a mask that is cut by depth.
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
        model: Inside `shared_prefix`.
        done: From `prefill`, which kept the stems' tails.
        stems: Items of the pack. Shorter tails are padded with their first token.
        rows: Sorted by layer.
        site: Where the deltas are added.

    Returns:
        [n_items, n_rows, tail, d_model], after the final norm.
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
            shift = torch.stack(deltas).to(hidden).repeat_interleave(tail, dim=0)
            shift = shift.expand(len(stems), -1, -1)
            source = index if site == "residual" else index - 1
            joining = done.hidden[source][done.place[tails]].repeat(1, len(deltas), 1)
        if deltas and site != "residual":
            # Within the block: the rows that join start from the block's own input.
            add = partial(torch.add, torch.cat([torch.zeros_like(hidden), shift], dim=1))
            hidden = torch.cat([hidden, joining], dim=1)
        if hidden.shape[1]:
            at = Rows(hidden.shape[1] // tail, prefix, real, depths, ancestors)
            if deltas and site != "residual":
                with editing(model.model, index, site, add):
                    hidden = _block(done, blocks[index], index, hidden, at, tails)
            else:
                hidden = _block(done, blocks[index], index, hidden, at, tails)
        if deltas and site == "residual":
            hidden = torch.cat([hidden, joining + shift], dim=1)
    normed: torch.Tensor = final_norm(model.model)(hidden)
    return normed.view(len(stems), len(rows), tail, width)


def _padded(stem: Stem, n_prefix: int, tail: int) -> tuple[np.ndarray, ...]:
    """Return prefix, which of it is real, tail and ancestors, padded to common sizes."""
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
    """The keyword arguments that the block got, of the tail's tokens, repeated for every row."""

    def tiled(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(tiled(name, v) for v in value)
        if name in ("position_embeddings", "position_ids"):
            part = value[0][tails]
            return part.repeat(1, n_rows, *[1] * (part.ndim - 2))
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise UnsupportedArchitectureError(f"the blocks take an argument {name!r}")

    kept = {k: v for k, v in kwargs.items() if k not in _DROPPED}
    return {"attention_mask": None, **{name: tiled(name, value) for name, value in kept.items()}}
