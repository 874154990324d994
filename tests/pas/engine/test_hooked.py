"""Batches of the engine that runs padded batches and hooks."""

from hypothesis import given
from hypothesis import strategies as st

from pas.engine.hooked import batches


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 1000))
def test_batches_cover_everything_once_within_the_budget(lengths: list[int], budget: int) -> None:
    cut = list(batches(lengths, budget))
    assert sorted(index for batch in cut for index in batch) == list(range(len(lengths)))
    for batch in cut:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget
    # No batch could have taken the next one's first sequence as well.
    for batch, following in zip(cut, cut[1:], strict=False):
        assert lengths[following[0]] * (len(batch) + 1) > budget
