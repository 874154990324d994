"""Measures of text that a model has written."""

from collections.abc import Hashable, Sequence

import torch

from pas.models.loading import LoadedModel
from pas.models.padding import pad

_RUN = 4


@torch.inference_mode()
def surprise(model: LoadedModel, start: Sequence[int], new: Sequence[int]) -> float:
    """Return the negative log-likelihood of tokens after others, in nats, summed over the tokens.

    Args:
        model: The model, unsteered unless a context steers it.
        start: Token ids of the prompt, at least one.
        new: Token ids of the continuation, at least one.
    """
    batch = pad([(*start, *new)], model)
    with model.lock:
        logits = model.model(**batch.inputs(), logits_to_keep=len(new) + 1).logits[0, :-1]
    targets = torch.tensor(new, device=logits.device)[:, None]
    return -float(logits.float().log_softmax(dim=-1).gather(1, targets).sum())


def repeated_runs(parts: Sequence[Hashable]) -> tuple[int, int]:
    """Return how many runs of four parts occurred before in the same text, and how many there are.

    Args:
        parts: Words or token ids.
    """
    runs = [tuple(parts[i : i + _RUN]) for i in range(len(parts) - _RUN + 1)]
    return len(runs) - len({*runs}), len(runs)
