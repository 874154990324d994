"""What the command line prints: tables for people on a terminal, JSON for machines."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log too.")]


def print_json(value: Any) -> None:
    """Print a value as JSON; bytes as hex, times in ISO 8601, NaN and infinities as text."""
    sys.stdout.write(json.dumps(_strict(value), default=_plain, indent=2, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    """Return the value with the numbers that JSON does not have as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], unfolded: Sequence[str] = ()
) -> None:
    """Print rows as a table.

    Args:
        title: Above the table.
        header: Names of the columns.
        rows: A cell for each column; None is shown as nothing.
        unfolded: Columns whose cells stay on one line; the others make room for them.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        # A pipe or a log has no width of its own; a narrow guess would fold every cell.
        console = Console(width=max(console.width, 100))
    # Not the table's own title, which is folded to the width of the table.
    console.print(Text(title, style="bold"))
    console.print(table(header, rows, unfolded))


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], unfolded: Sequence[str] = ()
) -> "Table":
    """Return rows as a table of rich; see `print_table`."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    # Text and not str throughout: in a str rich takes square brackets for markup.
    made = Table(header_style="bold", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in header:
        made.add_column(Text(name), overflow="fold", no_wrap=name in unfolded)
    for row in rows:
        made.add_row(*(Text(_shown(cell)) for cell in row))
    return made


def _shown(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    if isinstance(cell, bytes):
        return cell.hex()
    return str(cell)


def say(text: str) -> None:
    """Print a line for people, on stderr, so that stdout stays clean for `--json`."""
    sys.stderr.write(text + "\n")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something of unknown length is under way; nothing elsewhere."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)):
        yield


def print_checks(title: str, findings: Sequence[Any]) -> None:
    """Print the table of checks with the measured values."""
    rows = [(f.result, f.check, f.measured, f.needed) for f in findings]
    print_table(title, ("", "check", "measured", "limit"), rows, unfolded=("",))
