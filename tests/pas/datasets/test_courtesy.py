from collections import Counter
from statistics import mean

import pytest

from pas.data.examples import Example, validate
from pas.data.splits import split
from pas.datasets.courtesy import generate, scenarios


@pytest.fixture(scope="module")
def items() -> list[Example]:
    return generate()


def _courteous_and_curt(item: Example) -> tuple[str, str]:
    return item.choices[item.label], item.choices[1 - item.label]


def test_same_valid_items_on_every_call(items: list[Example]) -> None:
    validate(items, "courtesy")
    assert items == generate()
    assert len(items) == 640
    assert len({(e.question, frozenset(e.choices)) for e in items}) == len(items)
    assert all(len(e.choices) == 2 and e.question.endswith("service:") for e in items)


def test_labels_are_balanced_in_every_group_and_items_are_shuffled(items: list[Example]) -> None:
    counts = Counter((e.group, e.label) for e in items)
    assert len({e.group for e in items}) == 40
    assert set(counts.values()) == {8}
    neighbours = sum(a.group == b.group for a, b in zip(items, items[1:], strict=False))
    assert neighbours < 40  # 15 expected by chance, 600 if unshuffled


def test_reply_lengths_are_matched(items: list[Example]) -> None:
    pairs = [_courteous_and_curt(e) for e in items]
    words = [len(a.split()) - len(b.split()) for a, b in pairs]
    characters = [len(a) - len(b) for a, b in pairs]
    assert max(map(abs, words)) <= 2
    assert abs(mean(words)) < 0.1
    assert max(map(abs, characters)) <= 20
    assert abs(mean(characters)) < 5
    assert mean(len(a.split()) for a, _ in pairs) == pytest.approx(21, abs=0.5)


def test_both_replies_of_a_scenario_state_the_same_fact() -> None:
    for scenario in scenarios():
        assert len(scenario.messages) == len(scenario.facts) == 2
        assert len(scenario.openers) == len(scenario.closers) == 2
        assert {m.joint for m in scenario.openers} <= {": ", ". "}
        assert {m.joint for m in scenario.closers} <= {", ", ". "}
    for item in generate():
        scenario = next(s for s in scenarios() if s.name == item.group)
        stated = []
        for reply in _courteous_and_curt(item):
            for manners in scenario.openers + scenario.closers:
                for manner in (manners.courteous, manners.curt):
                    reply = reply.replace(manner, "")
            stated.append(reply)
        assert stated[0] == stated[1]


def test_no_template_is_shared_and_no_opening_gives_the_answer_away() -> None:
    manners = [m for s in scenarios() for m in s.openers + s.closers]
    texts = [text for m in manners for text in (m.courteous, m.curt)]
    assert len(set(texts)) == len(texts) == 320
    for manner in ("courteous", "curt"):
        starts = Counter(" ".join(getattr(m, manner).split()[:2]) for m in manners)
        assert starts.most_common(1)[0][1] <= len(manners) // 6


def test_groups_stay_whole_in_a_split_of_the_intended_shares(items: list[Example]) -> None:
    parts = split(items, seed=0, protocol="sound", max_items=None)
    groups = [{e.group for e in part} for part in parts]
    assert [len(part) for part in parts] == [384, 128, 128]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
