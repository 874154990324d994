"""`pas watch`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.registry.promotion import promote
from tasks import resources
from tests.helpers.data_files import write_toy


@pytest.mark.server
def test_a_look_is_printed_and_mistakes_are_told_first(
    pas: Callable[..., Any], tmp_path: Path, tiny_folder: Path
) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 60)
    trained = pas(
        "train", "--task", "toy", "--data", data, "--model", tiny_folder, "--group-col", "topic",
        "--layers", "1", "--strengths", "1", "--methods", "caa", "--json",
    )  # fmt: skip
    name = json.loads(trained.out)["model_name"]
    lacking = pas("watch", name, "--data", data)
    assert lacking.code == 2 and "no alias 'champion'" in lacking.err
    promote(resources.registry(), name, 1)
    assert pas("watch", name).err == "error: --data: give the fresh rows\n"

    fresh = write_toy(tmp_path / "fresh.jsonl", 90)
    shown = pas("watch", name, "--data", fresh, "--data-format", "json", "--json")
    found = json.loads(shown.out)
    assert shown.code == int(found["drifted"]), shown.err
    assert (found["known"], found["fresh"]["n"], found["finding"]) == (60, 30, "too few items")
    said = pas("watch", name, "--data", fresh)
    assert "30 fresh items are too few to decide; 50 are needed" in said.out + said.err
