"""From final hidden states to the score of every choice."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import nn

from pas.engine.prefix import Stem
from pas.engine.scoring import Query, letter_scores
from pas.models.loading import LoadedModel

LOGIT_FLOATS = 1 << 26  # full-vocabulary logits held at once, 256 MiB in float32
_NODES = 1024  # tokens whose logits are taken together


class Reads(NamedTuple):
    """What is read off an item's steered tokens.

    Attributes:
        letters: Letter scoring: for each choice its token ids, read at the one steered token.
        normalise: Letter scoring: over the whole vocabulary.
        nodes: Choice scoring: [n_reads] the tail token at which a choice's token is predicted.
        targets: [n_reads] that token.
        spread: [n_reads, n_choices] float32, the weight of a read in the choice's score.
    """

    letters: tuple[tuple[int, ...], ...]
    nodes: np.ndarray
    targets: np.ndarray
    spread: np.ndarray
    normalise: bool = False


def place(
    question: Query,
    paths: Sequence[np.ndarray],
    root: int,
    length_norm: bool,
    normalise: bool = False,
) -> tuple[Stem, Reads]:
    """Find an item's prefix, its steered tokens and what is read there, in a pack.

    Choices that begin alike share those tokens, and all share the last token of the prompt.

    Args:
        question: The item.
        paths: For each of its tails, the indices of its tokens in the pack.
        root: Leading tokens that are not in the pack.
        length_norm: Mean log-probability per token of a choice instead of the sum.
        normalise: Log-probabilities of the letters instead of unnormalised ones.
    """
    n_prefix = len(question.sequences[0].token_ids) - question.sequences[0].n_steered - root
    nodes = {
        at: i
        for i, at in enumerate(dict.fromkeys(int(at) for path in paths for at in path[n_prefix:]))
    }
    ancestors = np.zeros((len(nodes), len(nodes)), bool)
    read_at: list[int] = []
    targets: list[int] = []
    choices: list[int] = []
    for choice, (tail, path) in enumerate(zip(question.sequences, paths, strict=True)):
        steered = [nodes[int(at)] for at in path[n_prefix:]]
        for count, node in enumerate(steered):
            ancestors[node, steered[: count + 1]] = True
        if tail.targets:
            read_at += steered
            targets += tail.targets
            choices += [choice] * len(steered)
    spread = np.zeros((len(choices), len(question.sequences)), np.float32)
    for row, choice in enumerate(choices):
        spread[row, choice] = 1 / len(question.sequences[choice].targets) if length_norm else 1.0
    stem = Stem(paths[0][:n_prefix], np.fromiter(nodes, np.int64), ancestors)
    at = np.asarray(read_at, np.int64)
    return stem, Reads(question.letters, at, np.asarray(targets), spread, normalise)


def read_scores(
    model: LoadedModel, hidden: torch.Tensor, reads: Sequence[Reads]
) -> list[torch.Tensor]:
    """Project final hidden states and read each item's scores off them.

    Args:
        model: The model.
        hidden: [n_items, n_rows, tail, d_model], after the final norm.
        reads: One for each item.

    Returns:
        For each item [n_rows, n_choices] float32, on the model's device.
    """
    head = model.model.get_output_embeddings()
    cap = getattr(model.model.config.get_text_config(), "final_logit_softcapping", None)

    def capped(logits: torch.Tensor) -> torch.Tensor:
        return torch.tanh(logits / cap) * cap if cap else logits

    if reads[0].letters:
        return _letters(head, hidden, reads, capped)
    items, rows, tail, _ = hidden.shape
    step = max(1, LOGIT_FLOATS // (items * tail * head.weight.shape[0]))
    found: list[list[torch.Tensor]] = [[] for _ in reads]
    for part in torch.split(hidden, step, dim=1):
        logits = capped(head(part)).float()
        total = logits.logsumexp(dim=-1)
        for item, read in enumerate(reads):
            nodes = torch.from_numpy(read.nodes).to(hidden.device)
            targets = torch.from_numpy(read.targets).to(hidden.device)
            spread = torch.from_numpy(read.spread).to(hidden.device)
            log_probs = logits[item][:, nodes, targets] - total[item][:, nodes]
            found[item].append(log_probs @ spread)
    return [torch.cat(parts) for parts in found]


def _letters(
    head: Any,
    hidden: torch.Tensor,
    reads: Sequence[Reads],
    capped: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """Only the letters' rows of the output head are multiplied, unless all are asked for."""
    letters = max((read.letters for read in reads), key=len)
    columns = torch.tensor([t for ids in letters for t in ids], device=hidden.device)
    last = hidden[:, :, 0]
    if reads[0].normalise:
        step = max(1, LOGIT_FLOATS // head.weight.shape[0])
        parts = [
            log_shares(capped(head(part)), columns, letters)
            for part in torch.split(last.flatten(end_dim=1), step)
        ]
        scores = torch.cat(parts).view(*last.shape[:2], -1)
    else:
        bias = None if getattr(head, "bias", None) is None else head.bias[columns]
        logits = capped(nn.functional.linear(last, head.weight[columns], bias))
        scores = letter_scores(logits, letters)
    return [scores[item, :, : len(read.letters)] for item, read in enumerate(reads)]


def log_shares(
    logits: torch.Tensor, columns: torch.Tensor, letters: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability of each letter among all tokens.

    Args:
        logits: [n, vocabulary].
        columns: All letters' tokens in the order of `letters`.
        letters: For each choice its token ids.

    Returns:
        [n, n_choices] float32.
    """
    # Of the same logits: products of other shapes round otherwise, and shares could exceed 1.
    total = logits.float().logsumexp(dim=-1, keepdim=True)
    return letter_scores(logits[:, columns], letters) - total


def read_unsteered(
    model: LoadedModel, final: torch.Tensor, stems: Sequence[Stem], reads: Sequence[Reads]
) -> list[torch.Tensor]:
    """Read the scores of a pack's items off its final hidden states [n_tokens, d_model].

    Returns:
        For each item [1, n_choices] float32, on the model's device.
    """
    if reads[0].letters:
        at = torch.from_numpy(np.stack([stem.tail for stem in stems])).to(final.device)
        return read_scores(model, final[at][:, None], reads)
    found: list[torch.Tensor] = []
    start = 0
    while start < len(stems):
        # Side by side as the tail of one item, for the sake of one large matrix product.
        sizes = np.cumsum([len(stem.tail) for stem in stems[start:]])
        stop = start + max(1, int(np.searchsorted(sizes, _NODES, side="right")))
        joined, nodes = _joined(stems[start:stop], reads[start:stop])
        at = torch.from_numpy(nodes).to(final.device)
        (scores,) = read_scores(model, final[at][None, None], [joined])
        found += torch.split(scores, [r.spread.shape[1] for r in reads[start:stop]], dim=1)
        start = stop
    return found


def _joined(stems: Sequence[Stem], reads: Sequence[Reads]) -> tuple[Reads, np.ndarray]:
    offsets = np.cumsum([0, *(len(stem.tail) for stem in stems)])
    nodes = [read.nodes + offset for read, offset in zip(reads, offsets, strict=False)]
    spread = block_diag(*(read.spread for read in reads)).astype(np.float32)
    targets = np.concatenate([read.targets for read in reads])
    tails = np.concatenate([stem.tail for stem in stems])
    return Reads((), np.concatenate(nodes), targets, spread), tails
