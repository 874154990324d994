from collections import Counter
from statistics import mean

import pytest

from pas.data.examples import Example, faults_of
from pas.data.splits import split
from pas.datasets.outlook import generate, scenarios


@pytest.fixture(scope="module")
def items() -> list[Example]:
    return generate()


def _cheerful_and_gloomy(item: Example) -> tuple[str, str]:
    return item.choices[item.label], item.choices[1 - item.label]


def test_same_valid_items_on_every_call(items: list[Example]) -> None:
    assert not any(fault for item in items for fault in faults_of(item))
    assert items == generate()
    assert len(items) == 320
    assert all(len(e.choices) == 2 for e in items)
    assert all(e.question.startswith("Friend: ") and e.question.endswith("?\nMe:") for e in items)


def test_labels_are_balanced_in_every_group_and_items_are_shuffled(items: list[Example]) -> None:
    counts = Counter((e.group, e.label) for e in items)
    assert len({e.group for e in items}) == 160
    assert set(counts.values()) == {1} and len(counts) == 320
    neighbours = sum(a.group == b.group for a, b in zip(items, items[1:], strict=False))
    assert neighbours < 8  # 1 expected by chance, 160 if unshuffled


def test_answer_lengths_are_matched(items: list[Example]) -> None:
    pairs = [_cheerful_and_gloomy(e) for e in items]
    words = [len(a.split()) - len(b.split()) for a, b in pairs]
    characters = [len(a) - len(b) for a, b in pairs]
    assert max(map(abs, words)) <= 1
    assert abs(mean(words)) < 0.05
    assert max(map(abs, characters)) <= 12
    assert abs(mean(characters)) < 1.5
    assert {len(text.split()) for pair in pairs for text in pair} <= set(range(5, 10))
    assert mean(len(a.split()) for a, _ in pairs) == pytest.approx(6.9, abs=0.1)


def test_no_question_or_answer_is_shared_and_no_opening_gives_the_answer_away() -> None:
    found = scenarios()
    pairs = [pair for scenario in found for pair in scenario.pairs]
    texts = [text for pair in pairs for text in pair]
    assert all(len(scenario.pairs) == 2 for scenario in found)
    assert len({scenario.name for scenario in found}) == len(found)
    assert len({scenario.question for scenario in found}) == len(found)
    assert len(set(texts)) == len(texts) == 640
    cheerful = Counter(pair.cheerful.split()[0] for pair in pairs)
    gloomy = Counter(pair.gloomy.split()[0] for pair in pairs)
    assert sum((cheerful & gloomy).values()) > 0.85 * len(pairs)


def test_groups_stay_whole_in_a_split_of_the_intended_shares(items: list[Example]) -> None:
    parts = split(items, seed=0, protocol="sound", max_items=None)
    groups = [{e.group for e in part} for part in parts]
    assert [len(part) for part in parts] == [192, 64, 64]
    assert [len(part) for part in groups] == [96, 32, 32]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
