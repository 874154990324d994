"""What a forward pass of the shared-prefix engine reads and leaves behind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pas.engine.trie import Pack

_STRETCH = 1.25  # spans share a group while the longest is at most so much longer


class KeyValues(NamedTuple):
    """Keys and values of one attention module, [n_tokens, kv_heads, head_dim] contiguous."""

    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor  # [depth, depth] bool: which depth sees which, as this module was built


class Group(NamedTuple):
    """Spans of similar size, padded to one.

    Attributes:
        queries: [n_spans, n_queries] indices in the pack.
        real: [n_real] which of the flattened queries are real.
        places: [n_real] their indices in the pack.
        keys: [n_spans, n_keys] indices in the pack; slot k holds the ancestor at depth root + k.
        depths: [n_spans, n_queries] of the queries.
    """

    queries: torch.Tensor
    real: torch.Tensor
    places: torch.Tensor
    keys: torch.Tensor
    depths: torch.Tensor


class Rows(NamedTuple):
    """The steered rows of some items at one step of the walk.

    Attributes:
        n: Configurations; each has a copy of every item's tail.
        prefix: [n_items, n_prefix] indices in the pack; slot k is at depth root + k.
        real: [n_items, n_prefix] bool, False where the prefix is padded.
        depths: [n_items, tail] of the tail's tokens.
        ancestors: [n_items, tail, tail] bool: which tail token sees which.
    """

    n: int
    prefix: torch.Tensor
    real: torch.Tensor
    depths: torch.Tensor
    ancestors: torch.Tensor


@dataclass
class Pass:
    """What a pass through the model reads and leaves behind.

    Attributes:
        length: One more than the greatest depth.
        groups: Of the pack, while prefilling.
        root: Keys and values of the leading tokens that all sequences share.
        recorded: What the prefill left.
        rows: Of the walk; None while prefilling.
        masks: Masks already cut, by module mask and part.
    """

    length: int
    groups: Sequence[Group]
    root: dict[nn.Module, KeyValues]
    recorded: dict[nn.Module, KeyValues] = field(default_factory=dict)
    rows: Rows | None = None
    masks: dict[tuple[int, str, int], Any] = field(default_factory=dict)


current: ContextVar[Pass] = ContextVar("pas_pass")


@contextmanager
def running(state: Pass) -> Iterator[None]:
    """Within the context forward passes read from and record to `state`."""
    token = current.set(state)
    try:
        yield
    finally:
        current.reset(token)


def groups_of(pack: Pack, device: torch.device) -> list[Group]:
    """Gather a pack's spans into groups that are padded little."""
    found: list[Group] = []
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
        found.append(Group(*(torch.from_numpy(a).to(device) for a in arrays)))
    return found
