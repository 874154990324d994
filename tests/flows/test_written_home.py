"""A home that a release has left is read, and gone on with, by every later one.

`python -m tests.helpers.written_home` writes such a home; each release adds its own.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from storage.catalogue.views import query
from storage.lake.files import open_lake
from storage.lake.verification import verify
from storage.registry.versions import load_vector, resolve
from storage.settings import Registry
from tests.helpers.processes import SAME
from tests.helpers.written_home import FIXTURES, NAME, WrittenHome

pytestmark = [pytest.mark.server, pytest.mark.whole]
HOMES = sorted(FIXTURES.glob("home-[0-9]*.tar.xz"))
assert HOMES, "without one, nothing would be tested"


@pytest.mark.parametrize("file", HOMES, ids=lambda file: file.name.removesuffix(".tar.xz"))
def test_a_home_of_a_release_is_read_and_gone_on_with(file: Path, tmp_path: Path) -> None:
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    told = json.loads((tmp_path / "told.json").read_text())
    home = WrittenHome(tmp_path)
    home.prepare()
    lake = open_lake(str(tmp_path / "home" / "lake"))
    assert lake.list() and all(verify(lake, address).ok for address in lake.list())

    # It lies elsewhere now, which is told before anything is done with it.
    moved = home.run("promote", NAME, "--version", "2")
    assert moved.returncode == 2 and "pas registry move" in moved.stderr
    assert home.run("registry", "move").returncode == 0

    assert home.told("vectors", NAME) == told["vectors"]
    assert home.told("cache", "stats") == told["stats"]
    for sql, rows in told["rows"].items():
        assert home.told("sql", sql) == rows
    registry = Registry(
        f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", str(tmp_path / "home" / "artifacts")
    )
    champion = load_vector(registry, resolve(registry, f"{NAME}@champion"))
    [held] = query(
        lake,
        f"SELECT direction FROM vectors WHERE run_id = '{told['trained'][0]['run_id']}'"
        f" AND layer = {champion.layer}",
    )["direction"].to_pylist()
    np.testing.assert_array_equal(champion.direction, np.array(held, np.float32))

    files = set(lake.list())
    again = home.train(0)
    assert [again[key] for key in SAME] == [told["trained"][0][key] for key in SAME]
    if {held["fingerprint"] for held in home.told("cache", "stats")} == {
        held["fingerprint"] for held in told["stats"]
    }:  # the libraries are those of then
        assert again["prompts_extracted"] == 0
        assert {a for a in set(lake.list()) - files if "run_id" not in a} == set()
        # It is registered again, since it names its model, and that lies elsewhere now too.
        assert again["version"] == 3
    assert home.told("rollback", NAME)["version"] == 2
