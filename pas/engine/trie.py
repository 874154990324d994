"""Lay out many sequences as a trie of tokens, in one row.

Sequences with the same first tokens share those tokens. A question is therefore run once for its
full prompt and all of its statements, and a context once for all of its questions. Nothing is
padded.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Tokens = tuple[int, ...]


class Span(NamedTuple):
    """The tokens that one sequence adds to those of earlier sequences.

    Attributes:
        start: Index in the pack of the first new token.
        stop: Index after the last new token.
        path: [n] int64 indices in the pack of all tokens of the sequence, the new ones last.
    """

    start: int
    stop: int
    path: np.ndarray


class Pack(NamedTuple):
    """Sequences laid out as a trie.

    Attributes:
        tokens: [n_tokens] int64 token ids.
        depths: [n_tokens] int64, each token's position in its sequences.
        spans: The spans in the order of the tokens, which they cover without gaps.
        paths: For each sequence, in the order given, the int64 indices of its tokens after the
            root.
        root: Number of leading tokens, common to all sequences, that are not in the pack.
    """

    tokens: np.ndarray
    depths: np.ndarray
    spans: tuple[Span, ...]
    paths: tuple[np.ndarray, ...]
    root: int


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many leading tokens two sequences share. Both must have the same type."""
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
    """Lay out sequences in lexicographic order, without the tokens shared with earlier ones.

    Args:
        sequences: Token ids; each sequence is longer than the root.
        root: Number of leading tokens, common to all sequences, to leave out.
    """
    tokens: list[int] = []
    depths: list[int] = []
    spans: list[Span] = []
    path_of: dict[Tokens, np.ndarray] = {}
    last: Tokens = ()
    path = np.empty(0, np.int64)
    for sequence in sorted(set(sequences)):
        shared = max(common_length(last, sequence), root)
        new = sequence[shared:]
        start = len(tokens)
        tokens += new
        depths += range(shared, len(sequence))
        path = np.concatenate([path[: shared - root], np.arange(start, len(tokens))])
        path_of[sequence] = path
        if new:
            spans.append(Span(start, len(tokens), path))
        last = sequence
    return Pack(
        np.asarray(tokens, np.int64),
        np.asarray(depths, np.int64),
        tuple(spans),
        tuple(path_of[s] for s in sequences),
        root,
    )


def trie_size(sequences: Sequence[Tokens], root: int = 0) -> int:
    """Return the number of tokens of a pack of these sequences; shared tokens count once."""
    ordered = sorted(set(sequences))
    return sum(len(b) - max(common_length(a, b), root) for a, b in pairwise([(), *ordered]))


class Cut(NamedTuple):
    """The units of one pack.

    Attributes:
        units: Indices of the units.
        tokens: Number of tokens of their trie.
    """

    units: list[int]
    tokens: int


def packs(units: Sequence[Sequence[Tokens]], budget: int, root: int = 0) -> Iterator[Cut]:
    """Cut units of sequences into packs of at most `budget` tokens, with similar units together.

    The order is total and the cut is greedy, so leaving out the first packs does not change the
    others.

    Args:
        units: The units. The sequences of a unit are in the same pack.
        budget: Tokens of one pack; tokens that units share count once. A larger unit is a pack of
            its own.
        root: Number of leading tokens that are not in the packs.

    Yields:
        The packs, with their units in lexicographic order.
    """
    ordered = [sorted(set(unit)) for unit in units]
    pack: list[int] = []
    tokens = 0
    for index in sorted(range(len(units)), key=lambda i: (ordered[i], i)):
        unit = ordered[index]
        alone = trie_size(unit, root)
        shared = 0
        if pack:  # lexicographic neighbours share the most
            before = ordered[pack[-1]]
            shared = max(common_length(s, unit[0]) for s in before) - root
            shared = max(shared, 0)
        if pack and tokens + alone - shared > budget:
            yield Cut(pack, tokens)
            pack, tokens, shared = [], 0, 0
        pack.append(index)
        tokens += alone - shared
    if pack:
        yield Cut(pack, tokens)
