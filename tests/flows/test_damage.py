"""A training that meets damaged files makes them anew, and its result is the same."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from flows.train import train
from tasks import resources
from tests.helpers.processes import SAME
from tests.helpers.recipes import toy

pytestmark = [pytest.mark.server, pytest.mark.faults]

# What a bad disk, a cut copy and someone's own file leave behind.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda b: b[: len(b) // 3] + bytes([b[len(b) // 3] ^ 4]) + b[len(b) // 3 + 1 :],
    "cut": lambda b: b[: len(b) // 2],
    "empty": lambda _: b"",
    "foreign": lambda _: b"this is no table",
}


def test_every_kind_of_file_is_made_anew(
    home: Path, tmp_path: Path, tiny_folder: Path, caplog: pytest.LogCaptureFixture, tally: Any
) -> None:
    """Kinds take turns in how they are damaged."""
    del home
    recipe, lake = toy(tmp_path, tiny_folder, max_kl=0.1), resources.lake()
    whole = train(recipe).outcome
    made = {a: Path(lake.path(a)).read_bytes() for a in lake.list() if not a.startswith("tables/")}
    kinds = sorted({address.rpartition("/")[0] for address in made})
    assert len(kinds) >= 7
    for kind, damage in zip(kinds, cycle(DAMAGES.values()), strict=False):
        damaged = [address for address in made if address.startswith(f"{kind}/")]
        for address in damaged:
            Path(lake.path(address)).write_bytes(damage(made[address]))
            tally.add("corruptions", tried=1)
        again = train(recipe).outcome
        assert [getattr(again, name) for name in SAME] == [getattr(whole, name) for name in SAME]
        assert (again.version, again.is_new) == (whole.version, False), kind
        for address in damaged:
            assert f"{address} is damaged" in caplog.text
            tally.add("corruptions", detected=1)
            assert Path(lake.path(address)).read_bytes() == made[address]
            assert lake.exists(f"quarantine/{address}")
            tally.add("corruptions", repaired=1)
