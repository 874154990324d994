"""Choose the next token of each row of a batch, by rules that differ from row to row."""

from collections.abc import Sequence

import torch

from pas.decoding.request import Sampling, Token


def generator_of(sampling: Sampling) -> torch.Generator:
    """Return the source of a request's draws, which no other request draws from."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def choose(
    logits: torch.Tensor,
    samplings: Sequence[Sampling],
    generators: Sequence[torch.Generator],
    n_top: Sequence[int],
) -> list[Token | None]:
    """Return the next token of each row; None where the scores are not finite.

    Args:
        logits: [batch, vocabulary] float32.
        samplings: How each row's token is chosen.
        generators: Of each row's draws.
        n_top: Number of likeliest tokens to report, for each row.
    """
    best = logits.argmax(dim=-1)
    highest, totals = logits.amax(dim=-1), logits.logsumexp(dim=-1)
    finite = highest.isfinite().tolist()
    ids = [
        int(best[row]) if not sampling.temperature or not finite[row]
        else _draw(logits[row].cpu(), sampling, generators[row])
        for row, sampling in enumerate(samplings)
    ]  # fmt: skip
    chosen = logits.gather(1, torch.tensor(ids, device=logits.device)[:, None])[:, 0]
    log_probs = (chosen - totals).tolist()
    return [
        Token(ids[row], log_probs[row], _top(logits[row], float(totals[row]), n_top[row]))
        if finite[row]
        else None
        for row in range(len(ids))
    ]


def _draw(scores: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw a token id from scores [vocabulary] float32 on the CPU."""
    # The highest score is 0 first, so that a tiny temperature overflows towards it alone.
    probabilities = ((scores - scores.max()) / sampling.temperature).softmax(dim=-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        probabilities[order[before >= sampling.top_p]] = 0
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _top(scores: torch.Tensor, total: float, count: int) -> tuple[tuple[int, float], ...]:
    if not count:
        return ()
    values, ids = scores.topk(min(count, len(scores)))
    return tuple(zip(ids.tolist(), (values - total).tolist(), strict=True))
