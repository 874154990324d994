"""Padded batches with hooks, for any decoder of transformers.

This gives the same results as the shared-prefix engine, more slowly. It is used for models that
the shared-prefix engine does not cover, and to check whether it covers a model.
"""

from collections.abc import Iterator, Sequence

import torch

from pas.engine.memory import halving
from pas.engine.prefix import Conditions
from pas.engine.readout import LOGIT_FLOATS, log_shares
from pas.engine.scoring import Query, ScoredSequence, letter_scores, target_log_probs
from pas.engine.trie import Tokens
from pas.models.loading import LoadedModel
from pas.models.padding import pad
from pas.models.sites import Site, observing
from pas.steering.apply import steered


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Cut indices, shortest first, into batches whose padded size fits the budget.

    A sequence longer than the budget makes a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and lengths[index] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def last_hidden(
    model: LoadedModel,
    sequences: Sequence[Tokens],
    layers: Sequence[int],
    site: Site,
    side: str = "left",
) -> torch.Tensor:
    """Read the site's activations at the last token of each sequence.

    Args:
        model: The model.
        sequences: Token ids of each sequence, run as one padded batch.
        layers: Decoder block indices; -1 is the embedding output.
        site: Where in the block.
        side: The side that is padded, "left" or "right".

    Returns:
        [n_sequences, n_layers, d_model] in the model's dtype, on the CPU.

    Raises:
        UserError: If the model has no such layer or site.
    """
    batch = pad(sequences, model, side)
    rows = torch.arange(len(sequences), device=model.device)
    seen: dict[int, torch.Tensor] = {}

    def see(layer: int, hidden: torch.Tensor) -> None:
        at = rows.to(hidden.device), batch.last.to(hidden.device)
        seen[layer] = hidden[at].to(model.device)

    with observing(model.model, tuple(layers), site, see):
        # The decoder without the output head, because no logits are needed.
        model.model.base_model(**batch.inputs())
    return torch.stack([seen[layer] for layer in layers], dim=1).cpu()


def score_padded(
    model: LoadedModel,
    questions: Sequence[Query],
    conditions: Conditions,
    token_budget: int,
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Score questions with one full forward pass per configuration.

    Args:
        model: The model.
        questions: From `pas.engine.scoring.prepare`.
        conditions: The configurations, and how to score.
        token_budget: Padded tokens of one forward pass.

    Yields:
        Index of the question, index of the sequence in it, and scores [1 + n_rows, n_letters or 1]
        float32 on the CPU, in any order.
    """
    owners = [
        (q, t) for q, question in enumerate(questions) for t in range(len(question.sequences))
    ]
    lengths: dict[int, list[tuple[int, int]]] = {}
    for q, t in owners:
        lengths.setdefault(questions[q].sequences[t].n_steered, []).append((q, t))
    for group in lengths.values():  # the same number of positions is steered in a batch

        def run(chosen: list[int], group: list[tuple[int, int]] = group) -> torch.Tensor:
            pairs = [group[i] for i in chosen]
            letters = max((questions[q].letters for q, _ in pairs), key=len)
            tails = [questions[q].sequences[t] for q, t in pairs]
            return _score_batch(model, tails, letters, conditions).cpu()

        sizes = [len(questions[q].sequences[t].token_ids) for q, t in group]
        for chosen, scores in halving(batches(sizes, token_budget), run):
            for i, value in zip(chosen, scores, strict=True):
                yield *group[i], value


def _score_batch(
    model: LoadedModel,
    tails: Sequence[ScoredSequence],
    letters: tuple[tuple[int, ...], ...],
    conditions: Conditions,
) -> torch.Tensor:
    """Return [batch, 1 + n_rows, n_letters or 1]."""
    count = tails[0].n_steered
    inputs = pad([t.token_ids for t in tails], model).inputs()
    targets = torch.tensor([t.targets for t in tails], device=model.device)
    columns = torch.tensor([t for ids in letters for t in ids], device=model.device)

    def forward() -> torch.Tensor:
        logits = model.model(**inputs, logits_to_keep=count).logits[:, -count:]
        if letters and conditions.normalise:
            step = max(1, LOGIT_FLOATS // logits.shape[-1])
            parts = torch.split(logits[:, -1], step)
            return torch.cat([log_shares(part, columns, letters) for part in parts])
        if letters:
            return letter_scores(logits[:, -1, columns], letters)
        log_probs = target_log_probs(logits, targets)
        reduce = log_probs.mean if conditions.length_norm else log_probs.sum
        return reduce(dim=-1, keepdim=True)

    parts = [forward()]
    for row in conditions.rows:
        with steered(model, row.layer, conditions.site, row.delta, count):
            parts.append(forward())
    return torch.stack(parts, dim=1)
