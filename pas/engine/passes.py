"""The inputs and results of a forward pass of the shared-prefix engine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from pas.engine.trie import Pack

_STRETCH = 1.25  # largest ratio of the longest to the shortest span in one group


class KeyValues(NamedTuple):
    """Keys and values of one attention module, [n_tokens, kv_heads, head_dim] contiguous."""

    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor  # [depth, depth] bool: which depths attend to which in this module


class Group(NamedTuple):
    """Spans of similar size, padded to one size.

    Attributes:
        queries: [n_spans, n_queries] int64 indices in the pack.
        real: [n_real] int64, the flattened queries that are not padding.
        places: [n_real] int64, the indices of these queries in the pack.
        keys: [n_spans, n_keys] int64 indices in the pack; slot k is the ancestor at depth
            root + k.
        depths: [n_spans, n_queries] int64, the depths of the queries.
    """

    queries: torch.Tensor
    real: torch.Tensor
    places: torch.Tensor
    keys: torch.Tensor
    depths: torch.Tensor


class Rows(NamedTuple):
    """The steered rows of some items at one step of the walk.

    Attributes:
        n: Number of configurations; each has a copy of every item's tail.
        prefix: [n_items, n_prefix] int64 indices in the pack; slot k is at depth root + k.
        real: [n_items, n_prefix] bool, False for padding.
        depths: [n_items, tail] int64, the depths of the tail's tokens.
        ancestors: [n_items, tail, tail] bool: which tail tokens attend to which.
    """

    n: int
    prefix: torch.Tensor
    real: torch.Tensor
    depths: torch.Tensor
    ancestors: torch.Tensor


@dataclass
class Pass:
    """The state of a pass through the model.

    Attributes:
        length: The greatest depth plus one.
        groups: The pack's groups, used by the prefill.
        root: Keys and values of the leading tokens that all sequences share.
        recorded: Keys and values that the prefill recorded.
        rows: The rows of the walk; None during the prefill.
        masks: Masks already cut, by module mask, its device and part.
    """

    length: int
    groups: Sequence[Group]
    root: dict[nn.Module, KeyValues]
    recorded: dict[nn.Module, KeyValues] = field(default_factory=dict)
    rows: Rows | None = None
    masks: dict[tuple[int, torch.device, str, int], Any] = field(default_factory=dict)


Part = TypeVar("Part", Group, Rows)


def moved(part: Part, device: torch.device) -> Part:
    """Return a group or rows with all tensors on a device, where the blocks are on several."""
    own = part._asdict().items()
    changes: dict[str, Any] = {n: v.to(device) for n, v in own if isinstance(v, torch.Tensor)}
    return part._replace(**changes)


current: ContextVar[Pass] = ContextVar("pas_pass")


@contextmanager
def running(state: Pass) -> Iterator[None]:
    """Within the context, forward passes read from and record to `state`."""
    token = current.set(state)
    try:
        yield
    finally:
        current.reset(token)


def groups_of(pack: Pack, device: torch.device) -> list[Group]:
    """Put a pack's spans into groups of similar size, on the device."""
    groups: list[Group] = []
    todo = sorted(pack.spans, key=lambda s: (s.stop - s.start, len(s.path)))
    while todo:
        limit = (todo[0].stop - todo[0].start) * _STRETCH + 4
        count = next((i for i, s in enumerate(todo) if s.stop - s.start > limit), len(todo))
        chosen, todo = todo[:count], todo[count:]
        queries = np.zeros((count, max(s.stop - s.start for s in chosen)), np.int64)
        keys = np.zeros((count, max(len(s.path) for s in chosen)), np.int64)
        real = np.zeros(queries.shape, bool)
        for row, (start, stop, path) in enumerate(chosen):
            queries[row, : stop - start] = np.arange(start, stop)
            real[row, : stop - start] = True
            keys[row, : len(path)] = path
        arrays = (queries, np.flatnonzero(real), queries[real], keys, pack.depths[queries])
        groups.append(Group(*(torch.from_numpy(a).to(device) for a in arrays)))
    return groups
