"""The attention function of the shared-prefix engine, registered with transformers.

Everything else is computed by the model's own modules. Two kinds of pass use this function. In the
prefill of a token trie, a token attends to its ancestors. In the walk, steered rows attend to the
prefix that the prefill recorded and to their own tail.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pas.engine.passes import KeyValues, Pass, Rows, current, moved
from pas.models.loading import LoadedModel
from pas.models.sites import UnsupportedArchitectureError

NAME = "pas_shared_prefix"


@contextmanager
def shared_prefix(model: LoadedModel) -> Iterator[None]:
    """Within the context, the model uses this module's attention.

    The model's lock is held, so that no other thread runs the model meanwhile.
    """
    _register()
    config = model.model.config.get_text_config()
    before = config._attn_implementation
    with model.lock:
        config._attn_implementation = NAME
        try:
            yield
        finally:
            config._attn_implementation = before


def _mask(**options: Any) -> torch.Tensor:
    """Return the mask by depth, [1, 1, depth, depth] bool, where transformers masks by index.

    The depth of a token is its index in its sequence.
    """
    from transformers.masking_utils import sdpa_mask

    length = current.get().length
    sizes = {"batch_size": 1, "q_length": length, "kv_length": length, "attention_mask": None}
    passed = {name: options[name] for name in ("mask_function", "use_vmap", "device")}
    mask: torch.Tensor = sdpa_mask(**sizes, **passed, allow_is_causal_skip=False)
    return mask


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend with the interface of a transformers attention implementation."""
    if any(kwargs.get(name) is not None for name in ("s_aux", "position_bias", "alibi")):
        raise UnsupportedArchitectureError(f"{type(module).__name__} adds to its attention scores")
    state = current.get()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if state.rows is not None:
        rows = moved(state.rows, query.device)
        return _attend_rows(state, rows, module, query, key, value, scale, softcap), None
    if attention_mask is None:
        raise UnsupportedArchitectureError(f"{type(module).__name__} got no mask")
    # By token, so that a token's keys of all heads are gathered in one piece.
    keys, values = (part[0].transpose(0, 1).contiguous() for part in (key, value))
    state.recorded[module] = KeyValues(keys, values, attention_mask[0, 0])
    return _attend_pack(state, module, query, scale, softcap), None


@cache
def _register() -> None:
    """Make transformers know the functions; its model classes take a second to import."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


class _Term(NamedTuple):
    """The scores of a part of the keys, and a function that adds the weighted values.

    `scores` has shape [batch, kv_heads, groups, rows, tail, keys].
    """

    scores: torch.Tensor
    add: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


class _Keys(NamedTuple):
    """Keys and values [batch or 1, kv_heads, n_keys, head_dim], and their mask.

    The mask is None if all keys are visible.
    """

    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None


def _attend_pack(
    state: Pass, module: nn.Module, query: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    """Attend from all tokens [1, heads, n_tokens, head_dim] to their ancestors."""
    pack, root = state.recorded[module], state.root.get(module)
    heads, kv_heads = query.shape[1], pack.key.shape[1]
    by_token = query[0].transpose(0, 1).contiguous()
    out = query.new_empty(query.shape[2], heads, pack.value.shape[-1])
    for number, group in enumerate(moved(group, query.device) for group in state.groups):
        n_root = 0 if root is None else len(root.key)
        end = n_root + group.keys.shape[1]
        mask = _cut(state, pack.mask, ("own", number), group.depths, n_root, end)
        near = _Keys(_gathered(pack.key, group.keys), _gathered(pack.value, group.keys), mask)
        queries = _gathered(by_token, group.queries)
        if root is None and softcap is None:
            read = _fused(queries, near, scale)
        else:
            batch, _, length, width = queries.shape
            queries = queries.view(batch, kv_heads, heads // kv_heads, 1, length, width)
            terms = [_shared(queries, near, scale, softcap)]
            if root is not None:
                mask = _cut(state, pack.mask, ("root", number), group.depths, 0, n_root)
                terms.append(_shared(queries, _everyone(root, mask), scale, softcap))
            read = _joint_softmax(terms, pack.value.dtype).reshape(batch, heads, length, -1)
        flat = read.transpose(1, 2).flatten(0, 1)
        out.index_copy_(0, group.places, flat.index_select(0, group.real))
    return out[None]


def _fused(query: torch.Tensor, keys: _Keys, scale: float) -> torch.Tensor:
    """Attend with torch's fused kernel; return [batch, heads, n, width]."""
    mask = None if keys.mask is None else keys.mask[:, None]
    groups = query.shape[1] // keys.key.shape[1]
    attend = nn.functional.scaled_dot_product_attention
    if not query.is_cuda:
        return attend(
            query, keys.key, keys.value, attn_mask=mask, scale=scale, enable_gqa=groups > 1
        )
    # The efficient kernel accepts a mask but no grouped heads. Flash accepts no mask. cuDNN makes
    # a plan for every shape, and the shapes differ in each pack.
    key, value = (part.repeat_interleave(groups, dim=1) for part in (keys.key, keys.value))
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        return attend(query, key, value, attn_mask=mask, scale=scale)


def _attend_rows(
    state: Pass,
    rows: Rows,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attend from rows [n_items, heads, n * tail, head_dim] to the prefix and their own tail."""
    prefix, root = state.recorded[module], state.root.get(module)
    items, heads, _, width = query.shape
    kv_heads, tail = key.shape[1], rows.depths.shape[1]
    query = query.reshape(items, kv_heads, heads // kv_heads, rows.n, tail, width)
    key = key.view(items, kv_heads, 1, rows.n, tail, width)
    value = value.view(items, kv_heads, 1, rows.n, tail, -1)
    n_root = 0 if root is None else len(root.key)
    mask = _cut(
        state,
        prefix.mask,
        ("prefix", 0),
        rows.depths,
        n_root,
        n_root + rows.prefix.shape[1],
        rows.real,
    )
    near = _Keys(_gathered(prefix.key, rows.prefix), _gathered(prefix.value, rows.prefix), mask)
    # The prefix is not copied: all rows of an item read the same keys.
    terms = [
        _shared(query, near, scale, softcap),
        _own(query, key, value, rows, prefix.mask, scale, softcap),
    ]
    if root is not None:
        mask = _cut(state, prefix.mask, ("far", 0), rows.depths, 0, n_root)
        terms.append(_shared(query, _everyone(root, mask), scale, softcap))
    read = _joint_softmax(terms, value.dtype).reshape(items, heads, rows.n * tail, -1)
    return read.transpose(1, 2)


def _gathered(by_token: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return [batch, heads, n, width] of [n_tokens, heads, width] at indices [batch, n]."""
    rows = by_token.index_select(0, indices.flatten())
    return rows.view(*indices.shape, *by_token.shape[1:]).transpose(1, 2)


def _everyone(root: KeyValues, mask: torch.Tensor | None) -> _Keys:
    """Return the root's keys and values, which all sequences share."""
    return _Keys(root.key.transpose(0, 1)[None], root.value.transpose(0, 1)[None], mask)


def _cut(
    state: Pass,
    mask: torch.Tensor,
    part: tuple[str, int],
    depths: torch.Tensor,
    start: int,
    stop: int,
    real: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """Return which keys at depths start..stop are visible from `depths`: [batch, n, keys] bool.

    The result is None if all are visible. All modules of one kind share a mask, so it is cut once
    per pass.
    """
    key = (mask.data_ptr(), mask.device, *part)
    if key not in state.masks:
        seen = mask[:, start:stop][depths]
        if seen.shape[-1] < stop - start:  # padding beyond the greatest depth
            seen = nn.functional.pad(seen, (0, stop - start - seen.shape[-1]))
        seen = seen if real is None else seen & real[:, None]
        state.masks[key] = None if bool(seen.all()) else seen
    cut: torch.Tensor | None = state.masks[key]
    return cut


def _shared(query: torch.Tensor, keys: _Keys, scale: float, softcap: float | None) -> _Term:
    """Return the term of keys that all rows of a batch entry share: one product per head."""
    batch, kv_heads, groups, rows, tail, width = query.shape
    flat = query.reshape(batch, kv_heads, groups * rows * tail, width)
    # The keys are scaled, because there are far fewer keys than rows.
    scores = flat @ (keys.key * scale).mT
    scores = scores.view(batch, kv_heads, groups, rows, tail, -1)

    def add(weights: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        mixed = weights.view(batch, kv_heads, groups * rows * tail, -1) @ keys.value
        mixed = mixed.view(batch, kv_heads, groups, rows, tail, -1)
        return mixed if out is None else out.add_(mixed)

    mask = None if keys.mask is None else keys.mask[:, None, None, None]
    return _Term(_masked(scores, mask, softcap), add)


def _own(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Rows,
    mask: torch.Tensor,
    scale: float,
    softcap: float | None,
) -> _Term:
    """Return the term of each row's own tail."""
    if query.shape[-2] == 1:  # letter scoring: a row is one token and attends to itself

        def add_one(weights: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
            return weights * value if out is None else out.addcmul_(weights, value)

        scores = (query * key).sum(dim=-1, keepdim=True) * scale
        return _Term(_masked(scores, None, softcap), add_one)

    def add(weights: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        return weights @ value if out is None else out.add_(weights @ value)

    seen = rows.ancestors & mask[rows.depths[:, :, None], rows.depths[:, None]]
    scores = _masked(query @ (key * scale).mT, seen[:, None, None, None], softcap)
    return _Term(scores, add)


def _masked(scores: torch.Tensor, mask: torch.Tensor | None, softcap: float | None) -> torch.Tensor:
    scores = scores.float()
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    return scores if mask is None else scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)


def _joint_softmax(terms: list[_Term], dtype: torch.dtype) -> torch.Tensor:
    """Return the attention output over the keys of all terms, without concatenating them."""
    tops = [term.scores.amax(dim=-1, keepdim=True) for term in terms]
    top = torch.stack(tops).amax(dim=0)
    weights = [term.scores.sub_(top).exp_() for term in terms]
    total = sum(w.sum(dim=-1, keepdim=True) for w in weights)
    out: torch.Tensor | None = None
    for term, weight in zip(terms, weights, strict=True):
        out = term.add(weight.to(dtype), out)
    assert out is not None
    return out.div_(total)
