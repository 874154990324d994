"""The tables over a study's results: tests over seeds, corrections, pooling and arms."""

import pytest

from pas.evidence.seeds import adjust, paired_t
from pas.study.results import CurvePoint, StudyResult
from pas.study.summary import summarise


def result(task: str, seed: int, before: float, after: float, **more: object) -> StudyResult:
    return StudyResult("m", task, "bias", seed, verdict="real", baseline_accuracy=before,
                      steered_accuracy=after, **more)  # fmt: skip


def test_the_summary_tests_over_seeds_and_corrects() -> None:
    results = [result("a", s, 0.5, 0.6 + 0.01 * s) for s in range(4)]
    results += [result("b", s, 0.5, 0.5 + 0.01 * (-1) ** s) for s in range(4)]
    results += [result("c", 0, 0.4, 0.5), StudyResult("m", "d", "bias", 0, failed="no data")]
    summary = summarise(results)
    assert [t.task for t in summary.tasks] == ["a", "b", "c"]
    a, b, c = summary.tasks
    assert a.test == paired_t([0.5] * 4, [0.6, 0.61, 0.62, 0.63])
    assert a.adjusted_p == pytest.approx(2 * a.test.p_value) and b.adjusted_p >= b.test.p_value
    assert [a.adjusted_p, b.adjusted_p] == adjust([a.test.p_value, b.test.p_value])
    assert c.adjusted_p is None and c.test.mean == pytest.approx(0.1)
    assert [f.task for f in summary.failed] == ["d"]
    assert summary.pooled is not None and summary.pooled.n_rows == 9
    assert summarise([results[-1]]).pooled is None


def test_arms_pair_the_seeds_that_both_have() -> None:
    plain = [(0.5, 0.6), (0.4, 0.5), (0.45, 0.5)]
    treated = {0: (0.55, 0.7), 2: (0.6, 0.6), 3: (0.9, 0.9)}
    results = [result("a", s, *pair) for s, pair in enumerate(plain)]
    results += [result("a", s, *pair, setting="icl") for s, pair in treated.items()]
    results += [result("b", 0, 0.1, 0.2, setting="sft")]  # its main training is missing
    [arms] = summarise(results).arms
    assert (arms.setting, arms.seeds) == ("icl", (0, 2))
    found = (arms.plain, arms.steered, arms.treated, arms.both)
    assert found == pytest.approx((0.475, 0.55, 0.575, 0.65))
    assert arms.treatment == paired_t([0.5, 0.45], [0.55, 0.6])
    assert arms.on_top == paired_t([0.55, 0.6], [0.7, 0.6])
    assert arms.over_steering == paired_t([0.6, 0.5], [0.7, 0.6])


def test_settings_are_families_of_their_own() -> None:
    results = [result("a", s, 0.5, 0.6 + 0.01 * s) for s in range(3)]
    results += [
        result("a", s, 0.5, 0.4 - 0.01 * s, setting="forgetting", variant=v)
        for v in ("mmlu", "arc") for s in range(3)
    ]  # fmt: skip
    summary = summarise(results)
    [main], [others] = summary.tasks, summary.others.values()
    assert main.adjusted_p == pytest.approx(main.test.p_value), "one test, nothing to correct"
    assert [(t.setting, t.variant) for t in others] == [("forgetting", v) for v in ("mmlu", "arc")]
    # A loss is looked for there, so the test has two sides.
    assert others[0].test == paired_t([0.5] * 3, [0.4, 0.39, 0.38], "two-sided")
    assert others[0].adjusted_p == pytest.approx(2 * others[0].test.p_value)
    assert summary.pooled is not None and summary.pooled.n_rows == 3


def test_categories_are_pooled_where_they_have_several_pairs() -> None:
    results = [result(t, s, 0.5, 0.6 + 0.01 * s) for t in "ab" for s in range(3)]
    results += [StudyResult("m", "c", "morality", 0, baseline_accuracy=0.5, steered_accuracy=0.6)]
    summary = summarise(results)
    assert list(summary.categories) == ["bias"] and summary.categories["bias"].n_rows == 6


def test_a_result_comes_back_from_its_dict() -> None:
    whole = result(
        "a", 0, 0.5, 0.6, curve=(CurvePoint(1.0, 0.5, 0.01),), method_deltas={"caa": 0.1}
    )
    assert StudyResult.from_dict(whole.as_dict()) == whole
