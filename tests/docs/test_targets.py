"""Every test is run by exactly one of make's targets, whatever its marks."""

import re
from itertools import chain, combinations

import pytest

from tests.helpers.places import ROOT

KINDS = ("whole", "faults", "team", "exports")
OTHERS = ("server", "demo_model", "slow")


def selections() -> dict[str, str]:
    """The expression over marks of each target that runs tests."""
    makefile = (ROOT / "Makefile").read_text()
    found = re.findall(r'^(test[a-z-]*):.*\n\t.*\$\(PYTEST\).* -m "([^"]+)"', makefile, re.M)
    return dict(found)


def chosen(marks: tuple[str, ...]) -> set[str]:
    values = {name: name in marks for name in (*KINDS, *OTHERS)}
    return {target for target, text in selections().items() if eval(text, values)}  # noqa: S307


@pytest.mark.parametrize(
    "marks", chain.from_iterable(combinations(KINDS, n) for n in range(len(KINDS) + 1))
)
def test_every_test_is_in_one_target(marks: tuple[str, ...]) -> None:
    [target] = chosen((*marks, *OTHERS))
    # `test-fast` is a part of `test`.
    assert chosen(marks) == ({"test", "test-fast"} if target == "test" else {target})


def test_the_gate_runs_the_readmes_tests_and_names_the_targets_it_leaves_to_people() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    gate = {*re.findall(r"^make (test\S*)$", text, re.M)}
    assert "test" in gate
    others = {*selections()} - gate - {"test-fast"}  # a part of `test`
    assert {*re.findall(r"`make (test-[a-z]+)`", text)} == others
