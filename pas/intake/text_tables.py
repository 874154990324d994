"""Tables of text: which separator, which quotation marks, whether there is a header."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pas.errors import UserError
from pas.intake.rows import BadRow, Row, Table, readable

if TYPE_CHECKING:
    from pas.intake.sources import Source

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SNIFFED = 20_000  # characters that the separator is detected from
_DIGITS = 18  # of a whole number; what is longer is text
_HEADER_WORDS = {
    "question", "prompt", "query", "label", "answer", "choices", "options", "text", "id",
    "correct", "target", "sentence", "passage", "context", "category", "input", "output",
}  # fmt: skip


def read_text_table(text: str, source: "Source", place: str) -> Table:
    """Read a table of text: csv and its relatives.

    Args:
        text: The text of the file.
        source: Its separator, quotes and header overrule what is detected.
        place: Name of the source, for error messages.

    Returns:
        Rows whose cells are text, or None where empty. A column of whole numbers has integers. A
        line with another number of cells than the first is a `BadRow`.

    Raises:
        UserError: If the table can be read in two ways, or most lines do not fit the first.
    """
    told, _, rest = text.partition("\n")
    if source.separator is None and told.startswith("sep=") and len(told.strip()) == 5:
        separator, text = told[4], rest  # the first line, as spreadsheets write it
    else:
        separator = _separator(text, source.separator, place)
    lines, quoted = _cells(text, separator, source.quotes, place)
    if not lines:
        raise UserError(f"{place}: no rows. Give a data set with at least one labelled item.")
    has_header = _has_header(lines, place) if source.header is None else source.header
    header = _named(lines[0][1], place) if has_header else _numbered(lines)
    rows: list[Row | BadRow] = []
    for number, cells in lines[1:] if has_header else lines:
        if len(cells) == len(header):
            rows.append({k: v or None for k, v in zip(header, cells, strict=True)})
            continue
        rows.append(
            BadRow(
                f"line {number} has {len(cells)} cells, the "
                f"{'header' if has_header else 'first line'} {len(header)}. A cell that contains "
                f"the separator needs quotation marks"
            )
        )
    named = _SEPARATORS.get(separator, repr(separator))
    n_bad = sum(not readable(row) for row in rows)
    if n_bad > len(rows) / 2:
        raise UserError(
            f"{place}: {n_bad} of {len(rows)} lines have another number of cells than the first, "
            f"which has {len(header)}. The separator was taken to be the {named}: say another with "
            "--data-separator, and remove lines before the table."
        )
    facts = {
        "format": "table of text",
        "separator": named,
        "quotation marks": "around cells" if quoted else "plain text",
        "header": "first line" if has_header else "none; columns are numbered from 1",
    }
    return Table(_with_integers(rows, header), facts)


def _separator(text: str, given: str | None, place: str) -> str:
    if given is not None:
        separator = {"tab": "\t", "\\t": "\t"}.get(given, given)
        if len(separator) != 1 or separator in '\r\n"':
            raise UserError(
                f"{place}: --data-separator {given!r}: give one character, such as ; or tab"
            )
        return separator
    from clevercsv.detect import Detector

    sample = text[:_SNIFFED].rpartition("\n")[0] or text[:_SNIFFED]
    dialect = Detector().detect(sample, delimiters=list(_SEPARATORS))
    found = dialect.delimiter if dialect is not None else ""
    return found or ","


def _cells(
    text: str, separator: str, quotes: str | None, place: str
) -> tuple[list[tuple[int, list[str]]], bool]:
    """Return the cells of every line with the line's number, and whether cells are quoted.

    A quotation mark at the start of a cell that no mark ends properly is text: taken for the start
    of a quoted cell it would swallow the lines after it.
    """
    plain = _parsed(text, separator, csv.QUOTE_NONE)
    if quotes == "none" or '"' not in text:
        return plain or [], False
    marked = _parsed(text, separator, csv.QUOTE_MINIMAL)
    if marked is None:
        if quotes == "double":
            raise UserError(f"{place}: a cell's quotation marks are not closed; --data-quotes none")
        return plain or [], False
    if quotes is None and plain is not None and _even(plain):
        if not _even(marked):
            return plain, False
        if any("\n" in c and separator in c for _, cells in marked for c in cells):
            raise UserError(
                f"{place}: quotation marks may enclose cells with line breaks ({len(marked)} "
                f"lines) or be plain text ({len(plain)} lines): say --data-quotes double or "
                "--data-quotes none"
            )
    return marked, True


def _even(lines: Sequence[tuple[int, list[str]]]) -> bool:
    return len({len(cells) for _, cells in lines}) == 1


def _parsed(text: str, separator: str, quoting: int) -> list[tuple[int, list[str]]] | None:
    """Return line numbers and cells of lines that are not blank; None if marks do not match."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=quoting,  # type: ignore[arg-type]
        strict=True,
        quotechar='"' if quoting != csv.QUOTE_NONE else None,
    )
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error:
        return None
    return [(number, cells) for number, cells in lines if any(cells)]


def _has_header(lines: Sequence[tuple[int, list[str]]], place: str) -> bool:
    """Tell whether the first line names the columns: a name does not occur among its cells."""
    first, others = lines[0][1], lines[1:200]
    words = {_plain(cell) for cell in first}
    if words & _HEADER_WORDS or not others:
        return True
    recurs = [
        cell
        for at, cell in enumerate(first)
        if cell and any(at < len(cells) and cells[at] == cell for _, cells in others)
    ]
    if recurs:
        return False
    if any(len(cell) > 80 or cell.endswith("?") for cell in first):
        raise UserError(
            f"{place}: the first line may be a header or an item ({' | '.join(first)[:120]}): say "
            "--data-header yes or --data-header no"
        )
    return True


def _plain(name: str) -> str:
    return name.strip().casefold()


def _named(cells: Sequence[str], place: str) -> list[str]:
    """Return the columns' names; one without a name, such as an index, is named by its number."""
    names = [cell or f"column {at}" for at, cell in enumerate(cells, start=1)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(
            f"{place}: several columns are named {', '.join(map(repr, repeated))}; rename them, or "
            "remove the first line and read the columns by number with --data-header no"
        )
    return names


def _numbered(lines: Sequence[tuple[int, list[str]]]) -> list[str]:
    return [str(at) for at in range(1, len(lines[0][1]) + 1)]


def _with_integers(rows: list[Row | BadRow], header: Sequence[str]) -> list[Row | BadRow]:
    """Convert columns that hold only whole numbers, such as most labels, to integers."""
    good = [row for row in rows if readable(row)]
    whole = {name for name in header if good and all(_whole(row[name] or "") for row in good)}
    if not whole:
        return rows
    return [
        {k: int(v) if k in whole else v for k, v in row.items()} if readable(row) else row
        for row in rows
    ]


def _whole(cell: str) -> bool:
    digits = cell.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    return plain and len(digits) <= _DIGITS
