"""Which texts get which weight, worked out by hand."""

import numpy as np
import pytest

from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import full_prompt
from pas.data.splits import order_choices
from pas.errors import UserError
from pas.methods.contrast import ContrastSet, contrast_sets, random_direction

RIGHT = ItemAnswer(Example("a", "Qa", ("a0", "a1"), 0, "a"), 0)
WRONG = ItemAnswer(Example("b", "Qb", ("b0", "b1", "b2"), 2, "b", fact="f"), 1)
ITEMS = [RIGHT, WRONG]
FULL = [full_prompt(item.example, "letter") for item in ITEMS]


@pytest.mark.parametrize(
    ("method", "scoring", "expected"),
    [
        ("pasf", "letter", ContrastSet([FULL[0]], [FULL[1]])),
        ("pasf", "choice", ContrastSet(["Qa"], ["Qb"])),
        ("ipasa", "letter", ContrastSet(["Qa a0"], ["Qb b1"])),
        ("ipaswo", "letter", ContrastSet(["Qb b2"], ["Qb b1"])),
        ("ipaswo", "choice", ContrastSet(["Qb b2"], ["Qb b1"])),
    ],
)
def test_contrast_sets_by_hand(method: str, scoring: str, expected: ContrastSet) -> None:
    assert contrast_sets([method, "random"], ITEMS, scoring) == {method: expected}


def test_a_text_that_occurs_twice_counts_twice() -> None:
    assert contrast_sets(["ipaswo"], [WRONG, WRONG], "letter")["ipaswo"].positives == ["Qb b2"] * 2


def test_caa_needs_no_answers_and_draws_the_same_wrong_text_for_every_order() -> None:
    drawn = set()
    for seed in range(12):
        shown = order_choices(WRONG.example, seed, "sound")
        (right,), (wrong,) = contrast_sets(["caa"], [ItemAnswer(shown, shown.label)], "letter")[
            "caa"
        ]
        assert right == "Qb b2"
        drawn.add(wrong)
    assert drawn in ({"Qb b0"}, {"Qb b1"})
    many = [ItemAnswer(Example(f"c{i}", "Q", ("x", "y", "z"), 1, ""), 0) for i in range(40)]
    assert set(contrast_sets(["caa"], many, "letter")["caa"].negatives) == {"Q x", "Q z"}


def test_a_method_without_a_contrast_is_left_out() -> None:
    methods = ["pasf", "ipasa", "ipaswo", "caa", "random"]
    assert {*contrast_sets(methods, [RIGHT], "letter")} == {"caa"}
    assert {*contrast_sets(methods, [WRONG], "letter")} == {"ipaswo", "caa"}
    assert {*contrast_sets(methods, ITEMS, "letter")} == {"pasf", "ipasa", "ipaswo", "caa"}


@pytest.mark.parametrize(
    ("method", "items", "reason"),
    [
        ("pasf", [RIGHT], "pasf: no negative example, .* 1 of 1"),
        ("pasf", [WRONG, WRONG], "pasf: no positive example, .* 0 of 2"),
        ("ipasa", [RIGHT], "ipasa: no negative"),
        ("ipaswo", [RIGHT], "ipaswo: no negative.*the method caa"),
        ("nope", ITEMS, "'nope' is not one of pasf, ipasa, ipaswo, caa, random"),
    ],
)
def test_refused(method: str, items: list[ItemAnswer], reason: str) -> None:
    with pytest.raises(UserError, match=rf"methods \(--methods\): {reason}"):
        contrast_sets([method], items, "letter")


def test_a_random_direction_has_the_norm_asked_for_and_follows_the_seed() -> None:
    found = random_direction(64, 2.5, "s")
    assert found.dtype == np.float32 and found.shape == (64,)
    assert np.linalg.norm(found) == pytest.approx(2.5, rel=1e-6)
    assert np.array_equal(found, random_direction(64, 2.5, "s"))
    assert not np.allclose(found, random_direction(64, 2.5, "t"))
    draws = np.stack([random_direction(64, 1.0, seed) for seed in range(400)])
    assert np.abs(draws.mean(axis=0)).max() < 0.03  # four standard errors of 0.125 / 20
