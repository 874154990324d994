"""Running the command line in this process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from flows.cli import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def pas(home: Path, capfd: pytest.CaptureFixture, monkeypatch) -> Callable[..., Ran]:
    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["pas", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return Ran(code, *capfd.readouterr())

    return run
