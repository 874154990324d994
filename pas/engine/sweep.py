"""Score every item under every configuration. What configurations share is computed once.

docs/method.md, "Pipeline", step 5. Scores come from `pas.engine.prefix`. For architectures that it
does not cover, one forward pass with hooks per configuration gives the same scores, more slowly.
"""

from collections.abc import Iterator, Sequence

import torch

from pas.engine.attention import shared_prefix
from pas.engine.hooked import score_padded
from pas.engine.memory import Budget, fitting, halving
from pas.engine.packed import root_of, score_pack
from pas.engine.prefix import Conditions, Steering, shared_root
from pas.engine.readout import require_finite
from pas.engine.scoring import Query
from pas.engine.selfcheck import covered
from pas.engine.trie import packs
from pas.models.loading import LoadedModel
from pas.models.sites import Site
from pas.progress import Advance, counted


@torch.inference_mode()
def score_rows(
    model: LoadedModel,
    questions: Sequence[Query],
    rows: Sequence[Steering],
    site: Site = "residual",
    *,
    length_norm: bool = True,
    budget: Budget | None = None,
    engine: str = "auto",
    normalise: bool = False,
) -> list[torch.Tensor]:
    """Score every choice of every question, unsteered and under every configuration.

    Args:
        model: The model.
        questions: From `pas.engine.scoring.prepare`.
        rows: The configurations, in any order; deltas [d_model] are direction times strength.
        site: Where the deltas are added.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        budget: Limits of a forward pass, by default chosen from the free memory. Halved if memory
            runs out.
        engine: "prefix", "hooks", or "auto", which is "prefix" if it covers the model.
        normalise: Letter scoring: return log-probabilities over the whole vocabulary, so that
            1 - sum(exp(scores)) is the probability outside the letters. By default scores lack a
            common normaliser, because it needs the whole output head. Choice scores are always
            normalised.

    Returns:
        For each question [1 + n_rows, n_choices] float32 on the CPU; row 0 is unsteered, the
        others are in the order of `rows`. Steered scores are not finite if the model overflows.

    Raises:
        UserError: If the model has no such layer or site, or an unsteered score is not finite.
    """
    if not questions:
        return []
    order = sorted(range(len(rows)), key=lambda i: rows[i].layer)
    row_of = torch.tensor([0, *(1 + i for i in order)]).argsort()
    deltas = torch.stack([row.delta for row in rows]).to(model.device) if rows else ()
    by_layer = [Steering(rows[i].layer, deltas[i]) for i in order]
    conditions = Conditions(by_layer, site, length_norm, normalise)
    longest = max((t.token_ids for q in questions for t in q.sequences), key=len)
    budget = budget or fitting(model, len(longest))
    with model.lock, counted(len(questions), "items scored") as advance:
        if engine == "hooks" or (engine == "auto" and not covered(model, site, longest)):
            tables = _padded(model, questions, conditions, budget, advance)
        else:
            tables = [torch.empty(0)] * len(questions)
            for index, scores in _packed(model, questions, conditions, budget):
                tables[index] = scores
                advance(1)
    require_finite(model, questions, [scores[0] for scores in tables])
    return [scores[row_of] for scores in tables]


def _packed(
    model: LoadedModel,
    questions: Sequence[Query],
    conditions: Conditions,
    budget: Budget,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each question's index and scores [1 + n_rows, n_choices] on the CPU."""
    common = root_of(questions)
    units = [[tail.token_ids for tail in question.sequences] for question in questions]
    with shared_prefix(model):
        root = shared_root(model, common)
        cuts = (cut.units for cut in packs(units, budget.tokens, root.n_tokens))

        def run(chosen: list[int]) -> list[tuple[int, torch.Tensor]]:
            pack = [questions[i] for i in chosen]
            return list(score_pack(model, pack, conditions, root, budget.rows))

        # `score_pack` halves its rows; if memory still runs out, the pack is too large.
        for chosen, tables in halving(cuts, run):
            yield from ((chosen[index], scores) for index, scores in tables)


def _padded(
    model: LoadedModel,
    questions: Sequence[Query],
    conditions: Conditions,
    budget: Budget,
    advance: Advance,
) -> list[torch.Tensor]:
    parts = [[torch.empty(0)] * len(question.sequences) for question in questions]
    for index, sequence, scores in score_padded(model, questions, conditions, budget.tokens):
        parts[index][sequence] = scores
        advance(1 / len(parts[index]))
    return [
        tables[0][:, : len(question.letters)] if question.letters else torch.cat(tables, dim=1)
        for question, tables in zip(questions, parts, strict=True)
    ]
