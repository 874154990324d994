"""Scores of every configuration on every item, without re-running what configurations share.

METHOD.md, "Pipeline", step 5. The engine of `pas.engine.prefix` answers; where an architecture
is not covered, one hooked pass per configuration gives the same scores, slower.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from pas.engine.attention import shared_prefix
from pas.engine.hooked import score_padded
from pas.engine.memory import Budget, fitting, halving
from pas.engine.packed import root_of, score_pack
from pas.engine.prefix import Conditions, Steering, shared_root
from pas.engine.scoring import Query
from pas.engine.selfcheck import covered
from pas.engine.trie import packs
from pas.models.loading import LoadedModel
from pas.models.sites import Site


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
        rows: The configurations, any order, deltas [d_model] with strength multiplied in.
        site: Where the deltas are added.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        budget: Limits, chosen from the free memory if not given; halved on out-of-memory.
        engine: "prefix", "hooks", or "auto": the first where it covers the model.
        normalise: Letter scoring: log-probabilities over the whole vocabulary, so that
            1 - sum(exp(scores)) is the share outside the letters, instead of scores that lack
            a common normaliser. Costs the whole output head. Choice scores are normalised anyway.

    Returns:
        For each question [1 + n_rows, n_choices] float32 on the CPU; row 0 is unsteered.
    """
    if not questions:
        return []
    order = sorted(range(len(rows)), key=lambda i: rows[i].layer)
    place_of = torch.tensor([0, *(1 + i for i in order)]).argsort()
    deltas = torch.stack([row.delta for row in rows]).to(model.device) if rows else ()
    by_layer = [Steering(rows[i].layer, deltas[i]) for i in order]
    conditions = Conditions(by_layer, site, length_norm, normalise)
    longest = max((t.token_ids for q in questions for t in q.sequences), key=len)
    budget = budget or fitting(model, len(longest))
    with model.lock, tqdm(total=len(questions), desc="scoring", disable=None, delay=2) as bar:
        if engine == "hooks" or (engine == "auto" and not covered(model, site, longest)):
            found = _padded(model, questions, conditions, budget, bar)
        else:
            found = [torch.empty(0)] * len(questions)
            for at, scores in _packed(model, questions, conditions, budget):
                found[at] = scores
                bar.update()
    return [scores[place_of] for scores in found]


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
            asked = [questions[i] for i in chosen]
            return list(score_pack(model, asked, conditions, root, budget.rows))

        # Rows are halved within; if memory still runs out, the pack itself is too large.
        for chosen, found in halving(cuts, run):
            yield from ((chosen[at], scores) for at, scores in found)


def _padded(
    model: LoadedModel,
    questions: Sequence[Query],
    conditions: Conditions,
    budget: Budget,
    bar: Any,
) -> list[torch.Tensor]:
    parts = [[torch.empty(0)] * len(question.sequences) for question in questions]
    for at, tail, scores in score_padded(model, questions, conditions, budget.tokens):
        parts[at][tail] = scores
        bar.update(1 / len(parts[at]))
    return [
        found[0][:, : len(question.letters)] if question.letters else torch.cat(found, dim=1)
        for question, found in zip(questions, parts, strict=True)
    ]
