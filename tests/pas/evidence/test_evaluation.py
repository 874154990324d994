"""An evaluation is put together from test answers, and survives as a document."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pas.data.examples import Example
from pas.data.splits import Split
from pas.engine.decisions import UNDECIDED
from pas.evidence.damage import Damage
from pas.evidence.evaluation import (
    Doubts,
    Evaluation,
    EvaluationAnswers,
    bias_of,
    evaluate,
    random_controls,
)
from pas.evidence.verdict import verdict
from pas.methods.answers import Answers, decided
from pas.methods.contrast import RANDOM
from pas.methods.grid import Cell, Configuration
from pas.methods.selection import Selection

N = 120
AT = Configuration("caa", 3, 4.0)
HARMLESS = Damage(0.01, 3.0, 3.01, 900)


def item(at: int, label: int, *, roles: tuple[str, ...] = (), groups: int = N) -> Example:
    return Example(
        f"i{at}",
        "Who?",
        ("a", "b", "c"),
        label,
        f"g{at % groups}",
        stratum="ambig" if at % 2 else "disambig",
        roles=roles,
    )


def answers(items: list[Example], picks: dict[Configuration | None, np.ndarray]) -> Answers:
    """Answers with nearly all probability on the picked letter."""
    scores = {
        at: [np.log(np.where(np.arange(3) == pick, 0.9, 0.04)) for pick in chosen]
        for at, chosen in picks.items()
    }
    labels = np.array([e.label for e in items])
    return decided([e.id for e in items], labels, scores)


def evaluated(
    items: list[Example],
    before: np.ndarray,
    after: np.ndarray,
    reshuffled: np.ndarray | None = None,
    *,
    at: Configuration = AT,
    random: float = 0.34,
    train: tuple[Example, ...] = (),
    damage: Damage = HARMLESS,
) -> Evaluation:
    """Evaluate answers; `reshuffled` says which are correct in another order."""
    labels = np.array([e.label for e in items])
    guesses = np.where(np.arange(len(items)) < random * len(items), labels, (labels + 1) % 3)
    control = Configuration(RANDOM, at.layer, at.strength)
    draws = (answers(items, {control: guesses}),) * (10 if at.strength else 0)
    other = None
    if reshuffled is not None:
        picks = np.where(reshuffled, labels, (labels + 1) % 3)
        other = answers(items, {None: before, at: picks})
    chosen = answers(items, {None: before} | ({at: after} if at.strength else {}))
    cell = Cell(at, 10, 7, 1.0)
    return evaluate(
        Split(train, (), tuple(items)),
        Selection(cell, {at.method: cell}),
        EvaluationAnswers(chosen, draws, other),
        damage,
        validation=chosen,
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_gain_that_stays_with_other_orders_is_real(rng: np.random.Generator) -> None:
    items = [item(at, int(label)) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    before, after = rng.integers(0, 3, N), labels.copy()
    after[:12] = (labels[:12] + 1) % 3
    found = evaluated(items, before, after, after == labels)
    assert found.verdict.label == "real", found.verdict.explanation
    assert "significance over groups" not in [f.check for f in found.verdict.findings]
    assert found.test.steered_accuracy == pytest.approx(0.9)
    assert found.controls.outside_after == pytest.approx(1 - 0.98)
    assert found.letters is not None
    assert found.letters.correct == tuple(np.bincount(labels, minlength=3))
    assert found.letters.steered == tuple(np.bincount(after, minlength=3))


def test_a_constant_letter_is_called_a_letter_artefact() -> None:
    """Flaw 1 of the published protocol: the correct letter is a constant, and steering says it."""
    items = [item(at, 1) for at in range(N)]
    before, after = np.zeros(N, int), np.ones(N, int)
    found = evaluated(items, before, after, np.zeros(N, bool), random=0.0)
    assert found.verdict.label == "letter artefact"


def test_groups_are_the_units_where_items_share_them(rng: np.random.Generator) -> None:
    items = [item(at, int(label), groups=4) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    before = labels.copy()
    before[::4] = (labels[::4] + 1) % 3  # only the first group can gain
    found = evaluated(items, before, labels, np.ones(N, bool)).verdict
    assert found.label == "not significant"
    passed = {f.check: f.passed for f in found.findings}
    assert passed["significance"] and not passed["significance over groups"]
    assert not passed["number of groups"]


def test_always_unknown_is_seen_by_the_roles(rng: np.random.Generator) -> None:
    items = [
        item(at, 2 if at % 2 else int(label), roles=("biased", "counter", "unknown"))
        for at, label in enumerate(rng.integers(0, 2, N))
    ]
    after = np.full(N, 2)
    found = evaluated(items, np.zeros(N, int), after, random=0.3)
    assert found.verdict.label == "always unknown"
    plain = [item(at, e.label) for at, e in enumerate(items)]
    assert evaluated(plain, np.zeros(N, int), after, random=0.3).verdict.label == "real"


def test_no_steering_leaks_and_damage(rng: np.random.Generator) -> None:
    items = [item(at, int(label)) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    none = evaluated(items, labels, labels, np.ones(N, bool), at=AT._replace(strength=0.0))
    assert none.verdict.label == "no steering chosen"
    before, train = rng.integers(0, 3, N), tuple(items[:30])
    leaky = evaluated(items, before, labels, np.ones(N, bool), train=train)
    assert leaky.verdict.label == "leaky split"
    for kl in (9.0, float("nan")):
        harm = Damage(kl, 3.0, kl, 900)
        found = evaluated(items, before, labels, np.ones(N, bool), damage=harm)
        assert found.verdict.label == "damaging"


def test_an_evaluation_is_one_document(rng: np.random.Generator) -> None:
    items = [item(at, int(label), groups=30) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    found = evaluated(items, rng.integers(0, 3, N), labels, np.ones(N, bool))
    broken = replace(found, damage=Damage(float("nan"), 3.0, float("inf"), 900))
    for evaluation in (found, broken):
        text = json.dumps(evaluation.as_dict(), allow_nan=False)
        again = Evaluation.from_dict(json.loads(text))
        assert json.dumps(again.as_dict(), allow_nan=False) == text
        assert again.verdict == evaluation.verdict
        assert again.controls == evaluation.controls
        assert verdict(again.controls) == evaluation.verdict
    assert Evaluation.from_dict(found.as_dict()) == found
    # Documents of older versions have more: an interval over groups, for example.
    older = found.as_dict()
    older["controls"]["clustered"] |= {"n": N, "ci_low": 0.1, "standard_error": 0.02, "note": ""}
    assert Evaluation.from_dict(older) == found
    with pytest.raises(ValueError, match="verdict"):
        Evaluation.from_dict({k: v for k, v in found.as_dict().items() if k != "verdict"})


def test_ties_and_scores_that_are_not_finite_are_told(rng: np.random.Generator) -> None:
    items = [item(at, int(label)) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    plain = evaluated(items, rng.integers(0, 3, N), labels, np.ones(N, bool))
    assert plain.doubts is None and "doubts" not in plain.as_dict()

    other = AT._replace(strength=32.0)
    chosen = answers(items, {None: labels, AT: labels})
    scores = {at: list(chosen.scores_of(at)) for at in (None, AT)}
    scores[AT][0] = np.array([np.nan, 0.0, 0.0])
    scores[AT][1] = scores[None][1] = np.log([0.4, 0.4, 0.1])
    tested = decided(chosen.item_ids, labels, scores)
    validation = answers(items[:10], {None: labels[:10], AT: labels[:10]})
    swept = {at: validation.scores_of(at) for at in (None, AT)}
    swept[other] = [np.full(3, np.inf)] * 4 + [np.zeros(3)] * 6
    cell = Cell(AT, 10, 7, 1.0)
    found = evaluate(
        Split((), (), tuple(items)),
        Selection(cell, {}),
        EvaluationAnswers(tested, (), tested),
        HARMLESS,
        validation=decided(validation.item_ids, labels[:10], swept),
    )
    assert found.doubts == Doubts(answers=30 + 2 * N, ties=8, undecided=1, broken=((other, 4),))
    assert found.test.r2w >= 1 and 0 <= found.controls.outside_after <= 1
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert Evaluation.from_dict(json.loads(text)) == found


def test_no_answer_has_no_role() -> None:
    roles = ("unknown", "biased", "counter")
    items = [item(at, 0, roles=roles) for at in range(4)]
    found = bias_of(items, np.array([0, UNDECIDED, 1, UNDECIDED]))
    assert found is not None and found.n == 2 and found.unknown == 0.5
    assert bias_of(items, np.full(4, UNDECIDED)) is None


def test_answers_of_other_items_are_refused(rng: np.random.Generator) -> None:
    items = [item(at, int(label)) for at, label in enumerate(rng.integers(0, 3, N))]
    labels = np.array([e.label for e in items])
    chosen = answers(items[1:], {None: labels[1:], AT: labels[1:]})
    cell = Cell(AT, 10, 7, 1.0)
    with pytest.raises(ValueError, match="not to the test items"):
        evaluate(
            Split((), (), tuple(items)),
            Selection(cell, {}),
            EvaluationAnswers(chosen, (), None),
            HARMLESS,
            validation=chosen,
        )


def test_random_controls_have_the_winners_size_and_sign() -> None:
    cell = Cell(Configuration("caa", 3, -2.0), 10, 7, 5.0)
    controls = random_controls(cell, 48, seed=1)
    assert len(controls) == 10
    assert {at for at, _ in controls} == {Configuration(RANDOM, 3, -2.0)}
    assert all(np.linalg.norm(delta) == pytest.approx(5.0, rel=1e-5) for _, delta in controls)
    assert len({delta.tobytes() for _, delta in controls}) == 10
    mirrored = random_controls(cell._replace(configuration=Configuration("caa", 3, 2.0)), 48, 1)
    np.testing.assert_array_equal(mirrored[0][1], -controls[0][1])
    assert random_controls(cell._replace(configuration=Configuration("caa", 3, 0.0)), 48, 1) == []
