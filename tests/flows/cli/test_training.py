"""`pas retrain`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.data_files import write_toy


@pytest.mark.server
def test_the_command_prints_what_was_done(
    pas: Callable[..., Any], tmp_path: Path, tiny_folder: Path
) -> None:
    data = write_toy(tmp_path / "toy.jsonl")
    arguments = (
        "retrain", "--task", "toy", "--data", data, "--model", tiny_folder,
        "--group-col", "topic", "--layers", "1", "--strengths", "1", "--methods", "caa", "--json",
    )  # fmt: skip
    first, second = (pas(*arguments) for _ in range(2))
    assert first.code == second.code == 0, first.err + second.err
    shown = json.loads(first.out)
    assert shown["changes"] == ["there is no version yet"] and shown["training"]["version"] == 1
    assert json.loads(second.out) == {
        "name": "pas-tiny-llama-toy", "version": 1, "changes": [], "training": None
    }  # fmt: skip
    assert "nothing changed since version 1" in second.err
