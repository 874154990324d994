"""The table at the end of `make test-faults`: what was done on purpose, and what became of it.

A test counts by the fixture `tally`: before a fault it adds to what was tried, and after its checks
to what was survived, so a test that fails shows as a difference. Test processes of xdist hand their
counts over when they end.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import date
from pathlib import Path

import pytest

# Of each row the columns in order, and for one that is not counted by tests what gives it.
ROWS: dict[str, tuple[str, ...]] = {
    "faults": ("injected", "survived", "lost", "silently wrong"),
    "corruptions": ("tried", "without effect", "detected", "repaired"),
    "bad inputs": ("tried", "handled"),
    "fuzzed inputs": ("tried", "handled"),
    "races": ("run", "violations"),
    "signals": ("sent", "longest end in s", "processes left"),
}
# The largest counts, and not their sum.
_LARGEST = {"longest end in s"}
_BEGIN, _END = "<!-- fault table -->", "<!-- end of the fault table -->"


class Tally:
    """Counts by row and column."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def add(self, row: str, /, **columns: float) -> None:
        """Add to the columns of a row; `_` stands for a space in a column's name."""
        for name, value in columns.items():
            self.put(row, name.replace("_", " "), value)

    def put(self, row: str, column: str, value: float) -> None:
        if column not in ROWS[row]:
            raise ValueError(f"the row {row} has no column {column}")
        held = self.counts[row].get(column)
        if held is None:
            self.counts[row][column] = value
        else:
            self.counts[row][column] = max(held, value) if column in _LARGEST else held + value

    def merge(self, counts: dict[str, dict[str, float]]) -> None:
        for row, columns in counts.items():
            for column, value in columns.items():
                self.put(row, column, value)

    def lines(self) -> list[str]:
        """What was counted, as a table in Markdown; a column that no test counted is left out."""
        lines = ["| | |", "|---|---|"]
        for row, columns in ROWS.items():
            if row in self.counts:
                held = self.counts[row]
                cells = ", ".join(f"{c} {held[c]:g}" for c in columns if c in held)
                lines.append(f"| {row} | {cells} |")
        return lines


_tally = pytest.StashKey[Tally]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-table", type=Path, metavar="FILE", help="Also write the table of faults into it."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_tally] = Tally()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Counts of this test process; see `fault_table.ROWS` for rows and columns."""
    return pytestconfig.stash[_tally]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a test process of xdist: hand the counts over."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["fault_table"] = json.dumps(session.config.stash[_tally].counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """In the process that started others: take the counts of one that has ended."""
    del error
    counts = getattr(node, "workeroutput", {}).get("fault_table")
    if counts is not None:
        node.config.stash[_tally].merge(json.loads(counts))  # type: ignore[attr-defined]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counted = config.stash[_tally]
    if not counted.counts:
        return
    lines = counted.lines()
    terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
    file = config.getoption("--fault-table")
    if file is not None:
        failed = len(terminalreporter.stats.get("failed", []))
        write_table(file, lines, failed)


def write_table(file: Path, lines: list[str], failed: int) -> None:
    """Replace what stands between the two marks of a file.

    Raises:
        ValueError: If it has no such marks.
    """
    text = file.read_text(encoding="utf-8")
    said = f"Of {date.today():%d %B %Y}" + (f"; {failed} tests failed:" if failed else ":")
    table = "\n".join([_BEGIN, said, "", *lines, _END])
    made, n = re.subn(f"{_BEGIN}.*?{_END}", lambda _: table, text, flags=re.DOTALL)
    if n != 1:
        raise ValueError(f"{file} has not one place between {_BEGIN} and {_END}")
    file.write_text(made, encoding="utf-8")
