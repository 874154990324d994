"""Many sequences as one: a token trie, laid out as a single row of tokens.

Sequences that begin alike share those tokens, so a question is run once for its multiple-choice
prompt and all of its statements, and a context once for all of its questions. Nothing is padded.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Tokens = tuple[int, ...]


class Span(NamedTuple):
    """What one sequence adds to the tokens that earlier ones have laid out.

    Attributes:
        start: Index of its first new token in the pack.
        stop: One past its last.
        path: [n] indices in the pack of all its tokens, the new ones last.
    """

    start: int
    stop: int
    path: np.ndarray


class Pack(NamedTuple):
    """Sequences laid out as a trie.

    Attributes:
        tokens: [n_tokens] int64 token ids.
        depths: [n_tokens] int64, each token's position in its sequences.
        spans: In the order of the tokens, which they cover without gaps.
        paths: For each sequence, in the order given, the indices of its tokens after the root.
        root: Number of leading tokens, common to all, that are not laid out.
    """

    tokens: np.ndarray
    depths: np.ndarray
    spans: tuple[Span, ...]
    paths: tuple[np.ndarray, ...]
    root: int


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many leading tokens two sequences of one type share."""
    low, high = 0, min(len(left), len(right))
    while low < high:  # comparing slices is much faster than token by token
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_root(sequences: Sequence[Tokens]) -> int:
    """Return how many leading tokens all sequences share."""
    return common_length(min(sequences), max(sequences))


def lay_out(sequences: Sequence[Tokens], root: int = 0) -> Pack:
    """Lay sequences out in lexicographic order, each after what it shares with the one before.

    Args:
        sequences: Each longer than the root.
        root: Leading tokens, common to all, to be left out.
    """
    tokens: list[int] = []
    depths: list[int] = []
    spans: list[Span] = []
    found: dict[Tokens, np.ndarray] = {}
    last: Tokens = ()
    path = np.empty(0, np.int64)
    for sequence in sorted(set(sequences)):
        shared = max(common_length(last, sequence), root)
        new = sequence[shared:]
        start = len(tokens)
        tokens += new
        depths += range(shared, len(sequence))
        path = np.concatenate([path[: shared - root], np.arange(start, len(tokens))])
        found[sequence] = path
        if new:
            spans.append(Span(start, len(tokens), path))
        last = sequence
    return Pack(
        np.asarray(tokens, np.int64),
        np.asarray(depths, np.int64),
        tuple(spans),
        tuple(found[s] for s in sequences),
        root,
    )


def trie_size(sequences: Sequence[Tokens], root: int = 0) -> int:
    """Return how many tokens the sequences lay out, counting shared ones once."""
    ordered = sorted(set(sequences))
    return sum(len(b) - max(common_length(a, b), root) for a, b in pairwise([(), *ordered]))


class Cut(NamedTuple):
    """Units that make one pack, and the tokens of their trie."""

    units: list[int]
    tokens: int


def packs(units: Sequence[Sequence[Tokens]], budget: int, root: int = 0) -> Iterator[Cut]:
    """Cut units of sequences into packs of at most `budget` tokens, similar ones together.

    The order is total and the cut greedy: where the first packs are left out, the rest is cut at
    the same places.

    Args:
        units: Sequences that must share a pack.
        budget: Tokens of one pack, counted once where units share them. A larger unit makes a
            pack of its own.
        root: Leading tokens that are not laid out.

    Yields:
        Packs, their units in lexicographic order.
    """
    ordered = [sorted(set(unit)) for unit in units]
    pack: list[int] = []
    held = 0
    for index in sorted(range(len(units)), key=lambda i: (ordered[i], i)):
        unit = ordered[index]
        alone = trie_size(unit, root)
        shared = 0
        if pack:  # lexicographic neighbours share the most
            before = ordered[pack[-1]]
            shared = max(common_length(s, unit[0]) for s in before) - root
            shared = max(shared, 0)
        if pack and held + alone - shared > budget:
            yield Cut(pack, held)
            pack, held, shared = [], 0, 0
        pack.append(index)
        held += alone - shared
    if pack:
        yield Cut(pack, held)
