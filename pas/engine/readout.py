"""Compute the score of every choice from final hidden states.

docs/method.md, "Prompt and scoring".
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pas.engine.decisions import not_finite
from pas.engine.prefix import Stem
from pas.engine.scoring import Query, letter_scores
from pas.models.loading import LoadedModel

LOGIT_FLOATS = 1 << 26  # full-vocabulary logits held at once, 256 MiB in float32
_NODES = 1024  # tokens whose logits are taken together


class Reads(NamedTuple):
    """The values to read at an item's steered tokens.

    Attributes:
        letters: Letter scoring: for each choice its token ids, read at the one steered token.
        nodes: Choice scoring: [n_reads] int64, index in the tail of the token at which a choice's
            token is predicted.
        targets: Choice scoring: [n_reads] int64, the predicted token.
        spread: [n_reads, n_choices] float32, the weight of each value in each choice's score.
        normalise: Letter scoring: whether scores are log-probabilities over the vocabulary.
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
    """Return an item's prefix and steered tokens in a pack, and the values to read there.

    Choices with the same first tokens share those tokens. All choices share the last token of the
    prompt.

    Args:
        question: The item.
        paths: For each sequence of the item the indices of its tokens in the pack.
        root: Number of leading tokens that are not in the pack.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        normalise: Letter scoring: log-probabilities over the vocabulary.
    """
    n_prefix = len(question.sequences[0].token_ids) - question.sequences[0].n_steered - root
    steered_tokens = dict.fromkeys(int(token) for path in paths for token in path[n_prefix:])
    nodes = {token: i for i, token in enumerate(steered_tokens)}
    ancestors = np.zeros((len(nodes), len(nodes)), bool)
    read_at: list[int] = []
    targets: list[int] = []
    choices: list[int] = []
    for choice, (tail, path) in enumerate(zip(question.sequences, paths, strict=True)):
        steered = [nodes[int(token)] for token in path[n_prefix:]]
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
    read_nodes = np.asarray(read_at, np.int64)
    return stem, Reads(question.letters, read_nodes, np.asarray(targets), spread, normalise)


def read_scores(
    model: LoadedModel, hidden: torch.Tensor, reads: Sequence[Reads]
) -> list[torch.Tensor]:
    """Return each item's scores from final hidden states.

    Args:
        model: The model.
        hidden: [n_items, n_rows, tail, d_model], after the final norm.
        reads: One for each item.

    Returns:
        For each item [n_rows, n_choices] float32, on the device of the output head.
    """
    head = model.model.get_output_embeddings()
    hidden = hidden.to(head.weight.device)
    cap = getattr(model.model.config.get_text_config(), "final_logit_softcapping", None)

    def capped(logits: torch.Tensor) -> torch.Tensor:
        return torch.tanh(logits / cap) * cap if cap else logits

    if reads[0].letters:
        return _letters(head, hidden, reads, capped)
    items, rows, tail, _ = hidden.shape
    step = max(1, LOGIT_FLOATS // (items * tail * head.weight.shape[0]))
    by_item: list[list[torch.Tensor]] = [[] for _ in reads]
    for part in torch.split(hidden, step, dim=1):
        logits = capped(head(part)).float()
        total = logits.logsumexp(dim=-1)
        for item, read in enumerate(reads):
            nodes = torch.from_numpy(read.nodes).to(hidden.device)
            targets = torch.from_numpy(read.targets).to(hidden.device)
            spread = torch.from_numpy(read.spread).to(hidden.device)
            log_probs = logits[item][:, nodes, targets] - total[item][:, nodes]
            by_item[item].append(log_probs @ spread)
    return [torch.cat(parts) for parts in by_item]


def _letters(
    head: Any,
    hidden: torch.Tensor,
    reads: Sequence[Reads],
    capped: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """Return each item's letter scores.

    Only the letters' rows of the output head are used, unless scores are to be normalised.
    """
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
    elif not head.weight.is_floating_point():  # a quantised head has no rows of its own
        scores = letter_scores(capped(head(last))[..., columns], letters)
    else:
        bias = None if getattr(head, "bias", None) is None else head.bias[columns]
        logits = capped(nn.functional.linear(last, head.weight[columns], bias))
        scores = letter_scores(logits, letters)
    return [scores[item, :, : len(read.letters)] for item, read in enumerate(reads)]


def log_shares(
    logits: torch.Tensor, columns: torch.Tensor, letters: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return the log-probability of each letter, over the whole vocabulary.

    Args:
        logits: [n, vocabulary].
        columns: [n_tokens] int64, all letters' tokens in the order of `letters`.
        letters: For each choice its token ids.

    Returns:
        [n, n_choices] float32.
    """
    # From the same logits: products of other shapes round differently, and shares could exceed 1.
    total = logits.float().logsumexp(dim=-1, keepdim=True)
    return letter_scores(logits[:, columns], letters) - total


def read_unsteered(
    model: LoadedModel, final: torch.Tensor, stems: Sequence[Stem], reads: Sequence[Reads]
) -> list[torch.Tensor]:
    """Return the unsteered scores of a pack's items.

    Args:
        model: The model.
        final: [n_tokens, d_model], the pack's hidden states after the final norm.
        stems: The items.
        reads: One for each item.

    Returns:
        For each item [1, n_choices] float32, on the device of the output head.
    """
    if reads[0].letters:
        tails = torch.from_numpy(np.stack([stem.tail for stem in stems])).to(final.device)
        return read_scores(model, final[tails][:, None], reads)
    by_item: list[torch.Tensor] = []
    start = 0
    while start < len(stems):
        # Joined as the tail of one item, so that there is one large matrix product.
        sizes = np.cumsum([len(stem.tail) for stem in stems[start:]])
        stop = start + max(1, int(np.searchsorted(sizes, _NODES, side="right")))
        joined, nodes = _joined(stems[start:stop], reads[start:stop])
        tokens = torch.from_numpy(nodes).to(final.device)
        (scores,) = read_scores(model, final[tokens][None, None], [joined])
        by_item += torch.split(scores, [r.spread.shape[1] for r in reads[start:stop]], dim=1)
        start = stop
    return by_item


def require_finite(
    model: LoadedModel, questions: Sequence[Query], scores: Sequence[torch.Tensor]
) -> None:
    """Refuse unsteered scores that are not finite.

    Args:
        model: The model.
        questions: The items.
        scores: For each item [n_choices].

    Raises:
        UserError: The message shows how the first such prompt starts.
    """
    bad = [i for i, values in enumerate(scores) if not bool(values.isfinite().all())]
    if bad:
        ids = questions[bad[0]].sequences[0].token_ids
        text = model.tokenizer.decode(ids, skip_special_tokens=True)
        raise not_finite(f"the unsteered scores after {text[:60]!r} ({len(bad)} such items)")


def _joined(stems: Sequence[Stem], reads: Sequence[Reads]) -> tuple[Reads, np.ndarray]:
    from scipy.linalg import block_diag

    offsets = np.cumsum([0, *(len(stem.tail) for stem in stems)])
    nodes = [read.nodes + offset for read, offset in zip(reads, offsets, strict=False)]
    spread = block_diag(*(read.spread for read in reads)).astype(np.float32)
    targets = np.concatenate([read.targets for read in reads])
    tails = np.concatenate([stem.tail for stem in stems])
    return Reads((), np.concatenate(nodes), targets, spread), tails
