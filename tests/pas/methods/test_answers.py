"""Answers of 16-bit models: exact ties, and scores that are not finite."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pas.data.examples import Example
from pas.engine.scoring import ScoringRule, letter_tokens, query_of
from pas.errors import UserError
from pas.methods.answers import Answers, answer
from pas.methods.extraction import answer_and_extract
from pas.methods.grid import Configuration, Directions
from pas.methods.selection import choose, count
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import Dtype
from tests.helpers import oracle
from tests.helpers.tiny_models import D_MODEL, N_BLOCKS, toy_questions

Tiny = Callable[[str], LoadedModel]
SOUND, PAPER = ScoringRule("letter", "both"), ScoringRule("letter", "bare")
CHOICE = ScoringRule("choice")
ITEMS = [Example(**row, group="") for row in toy_questions(24)]
DIRECTION = (
    torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0)) / D_MODEL**0.5
).numpy()


def half(tiny: Tiny, dtype: Dtype, tmp_path: Path) -> LoadedModel:
    """A copy of the tiny Llama in 16 bits, which a test may change."""
    return load_model(replace(tiny("llama").spec, dtype=dtype), tmp_path)


def asked(
    model: LoadedModel,
    strengths: tuple[float, ...],
    rule: ScoringRule,
    items: list[Example] = ITEMS,
) -> Answers:
    deltas = [(at, np.float32(at.strength) * DIRECTION) for at in map(cell, strengths)]
    queries = [query_of(model.info, e, rule) for e in items]
    return answer(model, items, queries, deltas, "residual", rule)


def cell(strength: float) -> Configuration:
    return Configuration("caa", 1, strength)


def oracle_items(items: list[Example]) -> list[oracle.Item]:
    return [
        oracle.Item(e.id, e.question, e.choices, e.label, tuple(range(len(e.choices))), e.fact)
        for e in items
    ]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rule", [SOUND, PAPER], ids=["sound", "paper"])
def test_exact_ties_are_broken_alike_in_every_way_to_answer(
    tiny: Tiny, dtype: Dtype, rule: ScoringRule, tmp_path: Path
) -> None:
    """All letters have the same logit, so each item is a tie of all its choices."""
    model = half(tiny, dtype, tmp_path)
    letters = letter_tokens(model.info, 5, "both")
    with torch.no_grad():
        model.model.lm_head.weight[[t for ids in letters for t in ids]] = 0.0
    found = asked(model, (2.0,), rule)
    scoring = oracle.Scoring(variants=rule.variants, ties=rule.ties)
    expected = oracle.predict(model.model, model.tokenizer, oracle_items(ITEMS), scoring)
    assert found.choices().tolist() == expected
    assert found.choices(cell(2.0)).tolist() == expected
    assert found.ties() == found.ties(cell(2.0)) == len(ITEMS)
    one_by_one = [int(asked(model, (), rule, [item]).choices()[0]) for item in ITEMS]
    assert one_by_one == expected
    extracted = answer_and_extract(model, ITEMS, ["caa"], [1], rule)
    assert [a.choice for a in extracted.answers] == expected
    assert set(expected) == {0} if rule == PAPER else len(set(expected)) > 3


def test_rounding_to_16_bits_makes_ties(tiny: Tiny, tmp_path: Path) -> None:
    def nearly_alike(dtype: Dtype) -> Answers:
        model = half(tiny, dtype, tmp_path)
        letters = [t for ids in letter_tokens(model.info, 5, "bare") for t in ids]
        weight = model.model.lm_head.weight
        with torch.no_grad():
            own = weight[letters].float()
            weight[letters] = (own.mean(dim=0) + (own - own.mean(dim=0)) / 20).to(weight.dtype)
        return asked(model, (2.0,), PAPER)

    fine, coarse = nearly_alike("float32"), nearly_alike("bfloat16")
    assert fine.ties() == fine.ties(cell(2.0)) == 0
    shared = [s.tolist().count(s.max()) > 1 for s in coarse.scores_of()]
    assert coarse.ties() == sum(shared) > 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rule", [SOUND, CHOICE], ids=["letter", "choice"])
def test_scores_that_are_not_finite_are_wrong_and_never_selected(
    tiny: Tiny, dtype: Dtype, rule: ScoringRule, tmp_path: Path
) -> None:
    model = half(tiny, dtype, tmp_path)
    too_strong = 1e6 if dtype == "float16" else 1e39
    found = asked(model, (2.0, too_strong, 4.0), rule)
    broken = cell(too_strong)
    assert not any(np.isfinite(s).any() for s in found.scores_of(broken))
    assert found.undecided(broken) == len(ITEMS) and found.ties(broken) == 0
    assert found.accuracy(broken) == 0.0
    # The other rows of the same pass are not touched.
    alone = asked(model, (2.0, 4.0), rule)
    for at in (None, cell(2.0), cell(4.0)):
        assert found.undecided(at) == 0
        for left, right in zip(found.scores_of(at), alone.scores_of(at), strict=True):
            np.testing.assert_array_equal(left, right)
    directions = Directions({("caa", 1): DIRECTION}, {("caa", 1): 1.0})
    cells = count(found, directions, [broken, cell(2.0), cell(4.0)])
    assert [c.undecided for c in cells] == [len(ITEMS), 0, 0]
    for protocol in ("sound", "paper"):
        assert choose(cells, protocol).selected in cells[1:]
    with pytest.raises(UserError, match=r"all 1 configurations.*caa at layer 1, strength"):
        choose(cells[:1], "paper")


def test_the_unsteered_model_must_not_overflow(tiny: Tiny, tmp_path: Path) -> None:
    model = half(tiny, "float16", tmp_path)
    with torch.no_grad():
        model.model.model.layers[2].mlp.down_proj.weight.mul_(1e5)
    start = ITEMS[0].question[:20]
    with pytest.raises(UserError, match=rf"unsteered scores after '{start}.*float32"):
        asked(model, (), SOUND)
    with pytest.raises(UserError, match="activations at layer 2 of the prompt"):
        answer_and_extract(model, ITEMS, ["caa"], [1, 2], SOUND)
    # Below the overflow the activations are fine, the answers are not.
    with pytest.raises(UserError, match="unsteered scores after"):
        answer_and_extract(model, ITEMS, ["caa"], [1], SOUND)
    assert N_BLOCKS > 2
