"""A trie of tokens holds every sequence, shares what they share, and is cut within the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pas.engine.trie import common_length, common_root, lay_out, packs, trie_size

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)  # few, so many are shared
SEQUENCES = st.lists(TOKENS, min_size=1, max_size=25)
UNITS = st.lists(st.lists(TOKENS, min_size=1, max_size=3), max_size=25)


@given(SEQUENCES, st.integers(0, 5))
def test_every_path_spells_its_sequence(sequences: list[tuple[int, ...]], root: int) -> None:
    sequences = [(7,) * root + s for s in sequences]
    pack = lay_out(sequences, root)
    for sequence, path in zip(sequences, pack.paths, strict=True):
        assert tuple(pack.tokens[path]) == sequence[root:]
        assert list(pack.depths[path]) == list(range(root, len(sequence)))
    # Each token stands once: as many as there are distinct beginnings.
    beginnings = {s[:end] for s in sequences for end in range(root + 1, len(s) + 1)}
    assert len(pack.tokens) == len(beginnings) == trie_size(sequences, root)
    # The spans cover the tokens in order, and each ends its own path.
    assert [at for s in pack.spans for at in range(s.start, s.stop)] == list(range(len(beginnings)))
    assert all(list(s.path[-(s.stop - s.start) :]) == list(range(s.start, s.stop))
               for s in pack.spans)  # fmt: skip


@given(UNITS, st.integers(1, 60))
def test_packs_take_every_unit_once_within_the_budget(
    units: list[list[tuple[int, ...]]], budget: int
) -> None:
    cuts = list(packs(units, budget))
    assert sorted(i for cut in cuts for i in cut.units) == list(range(len(units)))
    for cut in cuts:
        size = trie_size([s for i in cut.units for s in units[i]])
        assert size <= cut.tokens
        assert cut.tokens <= budget or len(cut.units) == 1


@given(UNITS, st.integers(1, 60), st.data())
def test_packs_of_the_rest_keep_the_borders(
    units: list[list[tuple[int, ...]]], budget: int, data: st.DataObject
) -> None:
    """A resumed run cuts the same shards as the killed one."""
    units = [list(unit) for unit in {tuple(unit) for unit in units}]
    cuts = [[units[i] for i in cut.units] for cut in packs(units, budget)]
    shuffled = data.draw(st.permutations(units))
    found = [[shuffled[i] for i in cut.units] for cut in packs(shuffled, budget)]
    assert [[sorted(set(u)) for u in cut] for cut in found] == [
        [sorted(set(u)) for u in cut] for cut in cuts
    ]
    rest = [unit for cut in cuts[1:] for unit in cut]
    assert [[rest[i] for i in cut.units] for cut in packs(rest, budget)] == cuts[1:]


@pytest.mark.parametrize(
    ("left", "right", "shared"),
    [((), (1,), 0), ((1, 2, 3), (1, 2, 4), 2), ((1, 2), (1, 2, 3), 2), ((1,), (2,), 0)],
)
def test_common_length(left: tuple[int, ...], right: tuple[int, ...], shared: int) -> None:
    assert common_length(left, right) == common_length(right, left) == shared
    assert common_root([left, right, left]) == shared
