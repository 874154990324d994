"""Random inputs: how many are tried, and how good files are changed.

`make test-faults` tries a few hundred of each kind, always the same. A longer hunt tries others:

    FUZZ=50 python -m pytest -n 0 tests/fuzz --hypothesis-seed=7
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

_FACTOR = int(os.environ.get("FUZZ", "1"))


def bounded(examples: int) -> settings:
    """Settings of a test that tries so many inputs, or `FUZZ` times as many."""
    return settings(
        max_examples=examples * _FACTOR,
        derandomize=_FACTOR == 1,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


_places = st.floats(0, 1, exclude_max=True)
_edits = st.one_of(
    st.tuples(st.just("flip"), _places, st.integers(1, 255)),
    st.tuples(st.just("cut"), _places, st.just(0)),
    st.tuples(st.just("drop"), _places, st.integers(1, 64)),
    st.tuples(st.just("repeat"), _places, st.integers(1, 64)),
    st.tuples(st.just("put"), _places, st.binary(min_size=1, max_size=16)),
)


def changed(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with one to four edits: bits flipped, an end cut off, bytes lost or repeated."""
    return st.lists(_edits, min_size=1, max_size=4).map(lambda edits: _apply(content, edits))


def _apply(content: bytes, edits: list) -> bytes:
    for kind, share, how in edits:
        at = int(share * len(content))
        if kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ how]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[at + how :]
        elif kind == "repeat":
            content = content[: at + how] + content[at:]
        elif kind == "put":
            content = content[:at] + how + content[at:]
    return content
