"""Check whether the shared-prefix engine covers a model, by comparison with plain hooks."""

import logging
from weakref import WeakKeyDictionary

import torch
from torch import nn

from pas.engine.attention import shared_prefix
from pas.engine.hooked import score_padded
from pas.engine.packed import score_pack
from pas.engine.prefix import Conditions, Steering, shared_root
from pas.engine.scoring import Query, ScoredSequence
from pas.engine.trie import Tokens
from pas.models.loading import LoadedModel
from pas.models.sites import Site, UnsupportedArchitectureError

log = logging.getLogger("pas")
_SAMPLE = 64
_verdicts: "WeakKeyDictionary[nn.Module, dict[Site, bool]]" = WeakKeyDictionary()


@torch.inference_mode()
def covered(model: LoadedModel, site: Site, sample: Tokens) -> bool:
    """Return whether the engine agrees with plain hooks on this model.

    The check runs once per model and site. A log message gives the reason if it fails.

    Args:
        model: The model.
        site: Where vectors are added.
        sample: Token ids for the check, such as those of a prompt.
    """
    known = _verdicts.setdefault(model.model, {})
    if site not in known:
        known[site] = _agrees(model, site, sample)
    return known[site]


def _agrees(model: LoadedModel, site: Site, sample: Tokens) -> bool:
    name = type(model.model).__name__
    # Two choices after a common prompt, half of which is the root, so that all code paths run.
    tokens = (sample * 8)[:_SAMPLE]
    ends = (tokens[-3:], tokens[:2])
    tails = (
        ScoredSequence(tokens, 4, (*ends[0], tokens[0])),
        ScoredSequence((*tokens[:-3], *ends[1]), 3, tokens[:3]),
    )
    question = Query(tails, (), 0)
    ones = torch.ones(model.info.d_model, device=model.device)
    rows = [Steering(0, ones), Steering(model.n_layers - 1, ones)]
    conditions = Conditions(rows, site)
    try:
        with shared_prefix(model):
            root = shared_root(model, tokens[: len(tokens) // 2])
            ((_, fast),) = score_pack(model, [question], conditions, root, 1 << 12)
    except UnsupportedArchitectureError as reason:
        log.warning("%s: %s; using padded batches and hooks, which are slower", name, reason)
        return False
    slow = torch.empty_like(fast)
    for _, tail, scores in score_padded(model, [question], conditions, 1 << 12):
        slow[:, tail] = scores[:, 0]
    error = float((fast - slow).abs().max())
    # Quantised weights round to 16 bits on the way.
    exact = model.model.dtype == torch.float32 and not getattr(model.model, "is_quantized", False)
    if not error <= (1e-3 if exact else 0.25):
        log.warning(
            "%s: the shared-prefix engine differs by %.2g from hooked passes; "
            "using padded batches and hooks, which are slower",
            name,
            error,
        )
        return False
    return True
