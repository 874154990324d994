"""Every gate passes a sound candidate, and each fires on its own fault alone."""

from dataclasses import replace
from typing import Any

import pytest

from pas.evidence.bias import BiasScores
from pas.evidence.controls import Controls
from pas.evidence.gates import Evidence, Thresholds, faults_of, judge
from pas.evidence.paired import Comparison
from pas.evidence.verdict import verdict

TEST = Comparison(
    n=200, baseline_accuracy=0.60, steered_accuracy=0.70, delta=0.10, ci_low=0.04, ci_high=0.16,
    p_value=0.001, w2r=25, r2w=5,
)  # fmt: skip
GOOD = Evidence(TEST, 4.0, (0.58, 0.61), 0.55, 0.08)
BIAS = BiasScores(400, 0.50, 0.70, 0.10, 0.05, 0.40)
NAMES = ["steering won", "gain", "significance", "random direction", "constant letter",
         "re-shuffled choices", "verdict", "champion"]  # fmt: skip


def test_a_sound_candidate_passes_every_gate() -> None:
    gates = judge(GOOD, 0.69, Thresholds())
    assert [g.name for g in gates] == NAMES
    assert all(g.passed for g in gates)
    assert all(g.measured and g.needed for g in gates)
    assert all(g.passed for g in judge(GOOD._replace(strength=-4.0), None, Thresholds()))


@pytest.mark.parametrize(
    ("name", "changes", "champion"),
    [
        ("steering won", {"strength": 0.0}, None),
        ("gain", {"test": replace(TEST, delta=0.0199)}, None),
        ("significance", {"test": replace(TEST, p_value=0.05)}, None),
        ("random direction", {"random_accuracies": (0.58, 0.70)}, None),
        ("constant letter", {"constant_accuracy": 0.70}, None),
        ("re-shuffled choices", {"reshuffled_delta": 0.0}, None),
        ("verdict", {"faults": ("one letter (97.0 % of answers on one letter)",)}, None),
        ("champion", {}, 0.70),
    ],
)
def test_each_gate_fires_alone(name: str, changes: dict[str, Any], champion: float | None) -> None:
    gates = judge(GOOD._replace(**changes), champion, Thresholds())
    assert [g.name for g in gates if not g.passed] == [name]


def test_thresholds_are_the_askers() -> None:
    strict = judge(GOOD, None, Thresholds(min_delta=0.11, alpha=0.001))
    assert [g.name for g in strict if not g.passed] == ["gain", "significance"]


@pytest.mark.parametrize(("kl", "passed"), [(0.1, True), (0.11, False), (None, False)])
def test_damage_is_a_gate_where_a_limit_is_set(kl: float | None, passed: bool) -> None:
    gates = judge(GOOD._replace(neutral_kl=kl), None, Thresholds(max_kl=0.1))
    assert {g.name: g.passed for g in gates}["damage"] is passed


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"leaked_groups": 5}, "split"),
        ({"outside_before": 0.9, "outside_after": 0.1}, "answer format"),
        ({"reshuffled": None, "top_letter_before": 0.4, "top_letter_after": 1.0}, "one letter"),
        ({"neutral_kl": 9.0}, None),
        ({"bias_before": BIAS, "bias_after": replace(BIAS, unknown=0.9)}, "always unknown"),
        (
            {
                "bias_before": BIAS,
                "bias_after": replace(BIAS, unknown=0.6, accuracy_disambiguated=0.5),
            },
            "answerable items",
        ),
        ({"bias_before": BIAS, "bias_after": replace(BIAS, ambiguous=0.5)}, "bias score"),
    ],
)
def test_faults_are_the_verdicts_findings(changes: dict[str, Any], fault: str | None) -> None:
    controls = Controls(
        test=TEST, strength=4.0, letters=True, reshuffled=TEST, leaked_groups=0, test_groups=10
    )
    found = faults_of(verdict(replace(controls, **changes)))
    assert [f.split(" (")[0] for f in found] == ([fault] if fault else [])


def test_choice_scoring_has_no_letter_gates() -> None:
    names = [g.name for g in judge(Evidence(TEST, 1.0, (), None, None), None, Thresholds())]
    assert names == ["steering won", "gain", "significance", "verdict", "champion"]
