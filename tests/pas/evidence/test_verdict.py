"""Every verdict fires on its own fault, at its limit, and not short of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pas.evidence.bias import BiasScores, bias_scores
from pas.evidence.checks import CHECKS, markdown
from pas.evidence.clusters import ClusteredTest
from pas.evidence.controls import Asking, Controls
from pas.evidence.paired import Comparison
from pas.evidence.verdict import Verdict, verdict

TEST = Comparison(
    n=400, baseline_accuracy=0.60, steered_accuracy=0.70, delta=0.10, ci_low=0.05, ci_high=0.15,
    p_value=0.001, w2r=60, r2w=20,
)  # fmt: skip
GROUPS = ClusteredTest(25, 0.10, 0.003)
BEFORE = BiasScores(400, 0.50, 0.70, 0.10, 0.05, 0.40)
AFTER = BiasScores(400, 0.68, 0.72, 0.08, 0.05, 0.50)
ASKED = replace(TEST, steered_accuracy=0.62, delta=0.02, p_value=0.4)
ADDS = replace(TEST, baseline_accuracy=0.62, steered_accuracy=0.72)
ADDS_NOTHING = replace(ADDS, steered_accuracy=0.63, delta=0.01, p_value=0.6)
GOOD = Controls(
    test=TEST, strength=4.0, clustered=GROUPS, constant_accuracy=0.35, top_letter_before=0.40,
    top_letter_after=0.38, reshuffled=replace(TEST, delta=0.09), reshuffled_constant=0.36,
    random_accuracies=(0.58, 0.61, 0.60, 0.59, 0.60, 0.62, 0.60, 0.57, 0.60, 0.61),
    leaked_groups=0, test_groups=25, bias_before=BEFORE, bias_after=AFTER, outside_before=0.02,
    outside_after=0.03, neutral_kl=0.01, other_task=replace(TEST, delta=-0.005, p_value=0.6),
    asking=(Asking("3 worked examples", ASKED, ADDS, ADDS),),
)  # fmt: skip
CHOICE = Controls(
    TEST, 4.0, letters=False, random_accuracies=GOOD.random_accuracies, neutral_kl=0.01
)


def bias(after: BiasScores = AFTER, **changes: Any) -> dict[str, BiasScores]:
    return {"bias_after": replace(after, **changes)}


def test_a_sound_gain_is_real() -> None:
    found = verdict(GOOD)
    assert (found.label, found.failures, found.warnings) == ("real", (), ())
    assert [f.check for f in found.findings] == [check.name for check in CHECKS]
    assert all(f.passed and f.measured and f.needed for f in found.findings)
    assert all(f.explanation.endswith(".") for f in found.findings)
    assert "no control explains it" in found.explanation
    assert verdict(replace(GOOD, strength=-4.0)).label == "real"


# Label, the check that fails, controls that just fail it, controls that just do not.
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("no steering chosen", "steering chosen", {"strength": 0.0}, {"strength": 0.25}),
    ("not significant", "significance", {"test": replace(TEST, p_value=0.05)},
     {"test": replace(TEST, p_value=0.0499)}),
    ("not significant", "significance over groups",
     {"clustered": replace(GROUPS, p_value=0.05)}, {"clustered": replace(GROUPS, p_value=0.0499)}),
    ("not significant", "significance over groups",
     {"clustered": replace(GROUPS, p_value=None, n_groups=1)},
     {"clustered": replace(GROUPS, p_value=None, n_groups=2)}),
    ("negligible", "size of the gain", {"test": replace(TEST, delta=0.0199)},
     {"test": replace(TEST, delta=0.02)}),
    ("letter artefact", "re-shuffled choices", {"reshuffled": replace(TEST, delta=0.049)},
     {"reshuffled": replace(TEST, delta=0.05)}),
    ("letter artefact", "one letter",
     {"reshuffled": None, "top_letter_after": 0.9}, {"top_letter_after": 0.9}),
    ("no better than one letter", "constant letter", {"reshuffled_constant": 0.70},
     {"reshuffled_constant": 0.699, "constant_accuracy": 1.0}),
    ("no better than one letter", "constant letter",
     {"reshuffled_constant": None, "constant_accuracy": 0.70},
     {"reshuffled_constant": None, "constant_accuracy": 0.699}),
    ("format artefact", "answer format", {"outside_before": 0.29, "outside_after": 0.03},
     {"outside_before": 0.28, "outside_after": 0.03}),
    ("format artefact", "answer format", {"outside_after": 0.28}, {"outside_after": 0.27}),
    ("always unknown", "always unknown", bias(unknown=0.8), bias(unknown=0.79)),
    ("evasive", "answerable items", bias(accuracy_disambiguated=0.679),
     bias(accuracy_disambiguated=0.68)),
    ("not better than a random direction", "random direction",
     {"random_accuracies": (0.6,) * 9 + (0.70,)}, {"random_accuracies": (0.6,) * 9 + (0.699,)}),
    ("leaky split", "split", {"leaked_groups": 2, "test_groups": 199},
     {"leaked_groups": 2, "test_groups": 200}),
    ("more biased", "bias score", bias(ambiguous=-0.201), bias(ambiguous=-0.2)),
    ("more biased", "bias score", bias(disambiguated=0.151), bias(disambiguated=0.15)),
    ("damaging", "damage", {"neutral_kl": 0.101}, {"neutral_kl": 0.1}),
    ("damaging", "damage", {"other_task": replace(TEST, delta=-0.021, p_value=0.049)},
     {"other_task": replace(TEST, delta=-0.02, p_value=0.049)}),
    ("damaging", "damage", {"other_task": replace(TEST, delta=-0.3, p_value=0.049)},
     {"other_task": replace(TEST, delta=-0.3, p_value=0.05)}),
]  # fmt: skip


@pytest.mark.parametrize(("label", "check", "fails", "passes"), CASES)
def test_each_check_fires_alone_at_its_limit(
    label: str, check: str, fails: dict[str, Any], passes: dict[str, Any]
) -> None:
    found = verdict(replace(GOOD, **fails))
    assert found.label == label
    assert [f.check for f in found.failures if f.check != "controls"] == [check]
    assert found.explanation == found.failures[0].explanation
    assert verdict(replace(GOOD, **passes)).label == "real"


@pytest.mark.parametrize(
    ("both", "steered", "adds"),
    [
        (ADDS, ADDS_NOTHING, True),  # to asking
        (ADDS_NOTHING, ADDS, True),  # alone, where both together disturb each other
        (ADDS_NOTHING, ADDS_NOTHING, False),
        (replace(ADDS, p_value=0.05), ADDS_NOTHING, False),
        (replace(ADDS, p_value=0.0499), ADDS_NOTHING, True),
        (replace(ADDS, delta=-0.1), replace(ADDS, delta=-0.1), False),
    ],
)
def test_a_vector_that_adds_nothing_to_asking_is_promoted_with_a_warning(
    both: Comparison, steered: Comparison, adds: bool
) -> None:
    way = Asking("instruction: Be brief.", ASKED, both, steered)
    found = verdict(replace(GOOD, asking=(*GOOD.asking, way)))
    assert found.label == "real"
    assert [f.check for f in found.warnings] == ([] if adds else ["asking"])
    finding = found.findings[-1]
    assert (finding.check, finding.result) == ("asking", "passed" if adds else "warning")
    assert "instruction: Be brief.: accuracy 0.6200, with the vector" in finding.measured
    assert verdict(replace(GOOD, asking=(way,), strength=0.0)).findings[-1].check != "asking"


def test_a_significant_loss_is_harmful() -> None:
    loss = replace(TEST, delta=-0.1, steered_accuracy=0.5)
    assert verdict(replace(GOOD, test=loss)).label == "harmful"
    assert verdict(replace(GOOD, test=replace(loss, p_value=0.05))).label == "not significant"
    assert verdict(replace(GOOD, test=replace(loss, delta=0.0))).label == "not significant"


def test_the_published_alignment_gain_is_a_letter_artefact() -> None:
    # docs/method.md, "Flaws of the published protocol": TruthfulQA with one correct letter,
    # .017 -> 1.00 by answering `B` to everything, whose p-value is about 2 ** -196; re-shuffled
    # .258 -> .242.
    test = Comparison(200, 0.017, 1.0, 0.983, 0.96, 1.0, 2.0**-196, 197, 0)
    other = Comparison(200, 0.258, 0.242, -0.016, -0.09, 0.06, 0.77, 20, 23)
    controls = Controls(
        test, 7.0, constant_accuracy=1.0, top_letter_before=0.9, top_letter_after=1.0,
        reshuffled=other, random_accuracies=(0.02,) * 10, leaked_groups=0, test_groups=200,
        neutral_kl=0.05,
    )  # fmt: skip
    found = verdict(controls)
    assert found.label == "letter artefact"
    failed = [f.check for f in found.findings if not f.passed]
    assert failed == ["re-shuffled choices", "one letter", "constant letter"]
    assert "gain of letters" in found.explanation
    # Without the re-shuffled items, the collapse onto one letter tells.
    found = verdict(replace(controls, reshuffled=None))
    assert found.label == "letter artefact"
    assert [f.measured for f in found.failures if f.check == "controls"] == [
        "not measured: choices re-shuffled"
    ]
    # And without either, the best constant letter.
    blind = replace(controls, reshuffled=None, top_letter_after=None)
    assert verdict(blind).label == "no better than one letter"
    # A model that knows the answers answers `B` to everything too, and keeps its gain.
    knows = replace(other, steered_accuracy=0.9, delta=0.64, p_value=1e-9)
    knowing = replace(controls, reshuffled=knows, reshuffled_constant=0.28)
    assert verdict(knowing).label == "real"


def test_a_model_that_always_answered_one_letter_is_not_made_to() -> None:
    same = replace(GOOD, reshuffled=None, top_letter_before=0.95, top_letter_after=0.93)
    assert verdict(same).label == "unproven"
    assert verdict(replace(same, top_letter_before=0.92)).label == "letter artefact"
    assert verdict(replace(same, top_letter_before=None)).label == "letter artefact"


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"random_accuracies": GOOD.random_accuracies[:9]}, "10 random directions"),
        ({"random_accuracies": GOOD.random_accuracies[:2]}, "10 random directions"),
        ({"reshuffled": None}, "choices re-shuffled"),
        ({"constant_accuracy": None, "reshuffled_constant": None}, "the best constant letter"),
        ({"neutral_kl": None}, "damage to neutral text"),
    ],
)
def test_without_a_required_control_nothing_is_real(changes: dict[str, Any], missing: str) -> None:
    found = verdict(replace(GOOD, **changes))
    assert found.label == "unproven"
    assert [(f.check, f.measured) for f in found.failures] == [
        ("controls", f"not measured: {missing}")
    ]
    assert missing in found.explanation


def test_one_constant_letter_is_enough() -> None:
    assert verdict(replace(GOOD, constant_accuracy=None)).label == "real"


def test_few_groups_warn_and_do_not_block() -> None:
    few = verdict(replace(GOOD, clustered=replace(GROUPS, n_groups=9)))
    assert few.label == "real" and not few.failures
    assert [f.check for f in few.warnings] == ["number of groups"]
    assert not verdict(replace(GOOD, clustered=replace(GROUPS, n_groups=10))).warnings


def test_the_table_says_of_every_check_what_it_does() -> None:
    header, _, *lines = markdown().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert [row[0] for row in rows] == [check.name for check in CHECKS]
    assert all(all(row) and len(row) == header.count(" | ") + 1 for row in rows)
    assert "{" not in "".join(lines)
    assert {row[3] for row in rows} == {"blocks promotion", "warns"}
    # What the table calls its limit is what a finding names.
    needed = {f.check: f.needed for f in verdict(GOOD).findings}
    assert all(needed[row[0]] == row[2] for row in rows)


def test_the_former_demo_is_refused() -> None:
    # As measured on the courtesy data of 0.1: many like items in eight scenarios, a strong push.
    test = Comparison(128, 0.758, 0.883, 0.125, 0.055, 0.195, 0.0015, 20, 4)
    controls = Controls(
        test,
        4.0,
        letters=False,
        clustered=ClusteredTest(8, 0.125, 0.24),
        random_accuracies=(0.64,) * 9 + (0.828,),
        leaked_groups=0,
        test_groups=8,
        neutral_kl=0.678,
    )
    found = verdict(controls)
    assert found.label == "not significant"
    assert [f.check for f in found.failures] == ["significance over groups", "damage"]
    assert [f.check for f in found.warnings] == ["number of groups"]


def test_choice_scoring_needs_no_letter_controls() -> None:
    found = verdict(CHOICE)
    assert found.label == "real"
    assert [f.check for f in found.findings] == [
        "steering chosen", "harm", "significance", "size of the gain", "random direction",
        "damage", "controls",
    ]  # fmt: skip
    assert verdict(replace(CHOICE, letters=True)).label == "unproven"


def test_unknown_and_its_exceptions() -> None:
    # More "unknown" than before, but already nearly always: not steering's doing.
    before = replace(BEFORE, unknown=0.85)
    settled = replace(GOOD, bias_before=before, **bias(unknown=0.84))
    assert verdict(settled).label == "real"
    # Fewer answerable questions right, with fewer "unknown": not evasion.
    bolder = bias(unknown=0.39, accuracy_disambiguated=0.5)
    assert verdict(replace(GOOD, **bolder)).label == "real"
    # Only ambiguous items: "unknown" is right in all of them, and no score has a number there.
    only = {"accuracy_disambiguated": None, "disambiguated": None}
    ambiguous = replace(GOOD, bias_before=replace(BEFORE, **only), **bias(unknown=1.0, **only))
    assert verdict(ambiguous).label == "real"
    nothing = {**only, "ambiguous": None}
    names = [f.check for f in verdict(replace(GOOD, **bias(**nothing))).findings]
    assert "bias score" not in names


def test_precedence_is_the_order_of_the_checks() -> None:
    faults: dict[str, Any] = {}
    order = dict.fromkeys(check.label for check in CHECKS)
    done = set()
    for label, _, fails, _ in reversed(CASES):
        if label in done or label == "no better than one letter":
            continue
        done.add(label)
        faults = {**faults, **fails}
        failed = verdict(replace(GOOD, **faults)).label
        assert list(order).index(failed) <= list(order).index(label)
        assert failed == label or failed in done


def test_a_verdict_is_json() -> None:
    found = json.loads(json.dumps(verdict(replace(GOOD, strength=0.0)).as_dict()))
    assert found["label"] == "no steering chosen"
    assert found["findings"][0]["check"] == "steering chosen"
    assert found["version"] == Verdict("real", ()).version


def test_bias_scores_by_hand() -> None:
    # Disambiguated: 3 biased and 1 counter of 4 named, so s_DIS = 2 * 3/4 - 1 = .5. Ambiguous: 2
    # biased, 1 counter, 1 unknown, so accuracy 1/4 and s_AMB = 3/4 * (2 * 2/3 - 1) = .25.
    roles = ["biased", "biased", "biased", "counter", "unknown"] + [
        "biased", "biased", "counter", "unknown", "", None
    ]  # fmt: skip
    conditions = ["disambig"] * 5 + ["ambig"] * 6
    correct = [True, True, False, True, False, False, False, False, True, True, True]
    found = bias_scores(roles, conditions, correct)
    assert found.n == 9
    assert (found.accuracy_ambiguous, found.accuracy_disambiguated) == (0.25, 0.6)
    assert (found.ambiguous, found.disambiguated) == pytest.approx((0.25, 0.5))
    assert found.unknown == pytest.approx(2 / 9)


def test_bias_scores_at_the_ends() -> None:
    always = bias_scores(["unknown"] * 4, ["ambig", "disambig"] * 2, [True, False] * 2)
    assert (always.ambiguous, always.disambiguated, always.unknown) == (0.0, None, 1.0)
    assert (always.accuracy_ambiguous, always.accuracy_disambiguated) == (1.0, 0.0)
    stereotyped = bias_scores(["biased"] * 2, ["ambig", "disambig"], [False, True])
    assert (stereotyped.ambiguous, stereotyped.disambiguated) == (1.0, 1.0)
    against = bias_scores(["counter"], ["ambig"], [False])
    assert (against.ambiguous, against.accuracy_disambiguated) == (-1.0, None)
    with pytest.raises(ValueError, match="at least one"):
        bias_scores(["", None], ["ambig"] * 2, [True] * 2)
    with pytest.raises(ValueError, match="a condition is not"):
        bias_scores(["biased"], ["other"], [True])
    with pytest.raises(ValueError, match="shorter|longer"):
        bias_scores(["biased"], [], [True])


ITEM = st.tuples(st.sampled_from(["biased", "counter", "unknown"]),
                 st.sampled_from(["ambig", "disambig"]), st.booleans())  # fmt: skip


@given(st.lists(ITEM, min_size=1, max_size=30))
def test_swapping_the_groups_turns_the_scores_round(items: list[tuple[str, str, bool]]) -> None:
    # In an ambiguous item "unknown" is right and nothing else.
    fixed = [(r, c, r == "unknown" if c == "ambig" else ok) for r, c, ok in items]
    swap = {"biased": "counter", "counter": "biased", "unknown": "unknown"}
    found = bias_scores(*zip(*fixed, strict=True))
    other = bias_scores(*zip(*[(swap[r], c, ok) for r, c, ok in fixed], strict=True))
    for name in ("ambiguous", "disambiguated"):
        here, there = getattr(found, name), getattr(other, name)
        assert (here is None) == (there is None)
        if here is not None:
            assert -1 <= here <= 1
            assert here == pytest.approx(-there)
