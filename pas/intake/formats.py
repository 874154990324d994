"""From the bytes of a file to rows: tables of text, JSON, JSON lines and Parquet.

The content decides how a file is read, not its ending. What was decided is reported, and options of
`Source` overrule it.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from pas.errors import UserError

if TYPE_CHECKING:
    from pas.intake.sources import Source

Row = Mapping[str, Any]
SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SNIFFED = 20_000  # characters that the separator is detected from
_HEADER_WORDS = {
    "question", "prompt", "query", "label", "answer", "choices", "options", "text", "id",
    "correct", "target", "sentence", "passage", "context", "category", "input", "output",
}  # fmt: skip


class BadRow(NamedTuple):
    """A row that could not be read.

    Attributes:
        reason: Why, with the line if there is one.
    """

    reason: str


class Table(NamedTuple):
    """The rows of a file.

    Attributes:
        rows: In the order of the file; a row that could not be read is a `BadRow`.
        facts: How the file was read: format, encoding, separator, header and so on.
    """

    rows: list[Row | BadRow]
    facts: dict[str, str]


def read_table(data: bytes, name: str, source: "Source", place: str) -> Table:
    """Read a file's rows.

    Args:
        data: The bytes of the file.
        name: Its name; the ending is a hint for text tables only.
        source: Its options overrule what is detected.
        place: Name of the source, for error messages.

    Raises:
        UserError: If the file is empty, or is not a table of a known format.
    """
    data, packed, name = _unpacked(data, name, source.member, place)
    if not data.strip():
        raise UserError(f"{place}: the file is empty")
    if source.format == "parquet" or (source.format is None and data[:4] == b"PAR1"):
        table = _parquet(data, place)
    else:
        text, encoding = _decoded(data, source.encoding, place)
        kind = source.format or _kind(text)
        table = _json(text, source.rows, place) if kind == "json" else _csv(text, source, place)
        table.facts["encoding"] = encoding
    if not table.rows:
        raise UserError(
            f"{place}: no rows. It was read as {table.facts['format']}. Give a csv, tsv, json, "
            "jsonl or parquet file with at least one item, or say what it is with --data-format."
        )
    return table._replace(facts=packed | table.facts)


def _unpacked(
    data: bytes, name: str, member: str | None, place: str
) -> tuple[bytes, dict[str, str], str]:
    """Return the bytes and the name of the file inside gz, xz, bz2, zip and tar."""
    facts: dict[str, str] = {}
    for magic, kind, unpack in (
        (b"\x1f\x8b", "gzip", gzip.decompress),
        (b"\xfd7zXZ\x00", "xz", lzma.decompress),
        (b"BZh", "bzip2", bz2.decompress),
    ):
        if data.startswith(magic):
            try:
                data, facts, name = unpack(data), {"compression": kind}, PurePath(name).stem
            except (OSError, EOFError, lzma.LZMAError) as error:
                raise UserError(f"{place}: the {kind} file cannot be read ({error})") from error
            break
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        raise UserError(f"{place}: zstd is not read; unpack the file, or pack it with gzip")
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [i.filename for i in archive.infolist() if not i.is_dir()]
            if "[Content_Types].xml" in names:
                raise UserError(f"{place}: this is a workbook; save its sheet as csv")
            name = _member(names, member, place)
            return archive.read(name), {"member": name}, name
    if data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            name = _member([m.name for m in tar.getmembers() if m.isfile()], member, place)
            handle = tar.extractfile(name)
            return handle.read() if handle else b"", facts | {"member": name}, name
    if member is not None:
        raise UserError(f"{place}: --data-member is for zip and tar files, which this is not")
    return data, facts, name


def _member(names: Sequence[str], wanted: str | None, place: str) -> str:
    if wanted is not None:
        if wanted in names:
            return wanted
        raise UserError(f"{place}: there is no member {wanted!r}; there are {', '.join(names)}")
    hidden = (".", "__MACOSX")
    tables = [
        n
        for n in names
        if PurePath(n).suffix.lower() in SUFFIXES
        and not any(part.startswith(hidden) for part in PurePath(n).parts)
    ]
    if len(tables) != 1:
        found = ", ".join(tables or names) or "none"
        raise UserError(f"{place}: name one of its files with --data-member; it holds {found}")
    return tables[0]


def _decoded(data: bytes, encoding: str | None, place: str) -> tuple[str, str]:
    """Return the text and the encoding's name."""
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if encoding is None and data.startswith(mark):
            encoding = name
    try:
        text = data.decode(encoding or "utf-8-sig")
        if "\0" in text:
            raise UserError(
                f"{place}: the text has NUL characters, so it is binary or in another encoding: "
                "name it with --data-encoding, such as utf-16-le"
            )
        return text.removeprefix("\ufeff"), encoding or "utf-8"
    except (UnicodeDecodeError, LookupError) as error:
        if encoding is not None:
            raise UserError(
                f"{place}: the file cannot be read with --data-encoding {encoding} ({error})"
            ) from error
    from charset_normalizer import from_bytes

    best = from_bytes(data[:1_000_000]).best()
    detected = best.encoding if best else "cp1252"
    windows = data.decode("cp1252", errors="replace")
    # Encodings of one family differ in a few letters, and a detection cannot be relied upon there.
    if "\ufffd" not in windows and best and data.decode(detected, errors="replace") == windows:
        return windows, "cp1252 (detected)"
    raise UserError(
        f"{place}: the file is not UTF-8. Its encoding may be {detected}: say so with "
        f"--data-encoding {detected} (or cp1252, latin-1, ...) and check the items that are shown."
    )


def _kind(text: str) -> str:
    """Return "json" or "csv", by the first character and a first value that is complete."""
    start = text.lstrip()
    if start[:1] not in ("{", "["):
        return "csv"
    try:
        json.JSONDecoder().raw_decode(start)
    except json.JSONDecodeError:
        return "csv" if start[:1] == "[" and "," not in start.split("\n", 1)[0] else "json"
    return "json"


def _parquet(data: bytes, place: str) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row | BadRow] = pq.read_table(io.BytesIO(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{place}: the Parquet file cannot be read ({error})") from error
    return Table(rows, {"format": "Parquet"})


# JSON


def _json(text: str, path: str | None, place: str) -> Table:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        lines = _json_lines(text)
        if path is None and not isinstance(lines[0], BadRow):
            return Table(lines, {"format": "JSON lines"})
        raise UserError(
            f"{place}: the rows cannot be read: this is not JSON ({error}). Correct the file."
        ) from error
    if path is None and isinstance(document, Mapping) and "\n" not in text.strip():
        nested = list(_row_lists(document))
        if not nested and not _by_id(document) and not _columns_of_lists(document):
            return Table([document], {"format": "JSON lines"})
    rows, found = _rows_of(document, path, place)
    facts = {"format": "JSON"} | ({"rows": found} if found else {})
    return Table([r if isinstance(r, Mapping) else BadRow(_no_object(r)) for r in rows], facts)


def _no_object(value: Any) -> str:
    return f"this is not an object with named fields but {str(value)[:40]!r}"


def _json_lines(text: str) -> list[Row | BadRow]:
    rows: list[Row | BadRow] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            rows.append(BadRow(f"line {number} is not JSON ({error})"))
            continue
        known = isinstance(row, Mapping)
        rows.append(row if known else BadRow(f"line {number}: {_no_object(row)}"))
    return rows or [BadRow("no line")]


def _rows_of(document: Any, path: str | None, place: str) -> tuple[Sequence[Any], str]:
    """Return the rows of a document and, for people, where in it they are."""
    if path is not None:
        for part in path.split("."):
            if not isinstance(document, Mapping) or part not in document:
                known = ", ".join(map(str, document)) if isinstance(document, Mapping) else "none"
                raise UserError(f"{place}: --data-rows {path}: no {part!r}; the fields are {known}")
            document = document[part]
    where = f" at {path}" if path else ""
    if isinstance(document, list):
        return document, path or ""
    if isinstance(document, Mapping):
        paths = list(_row_lists(document))
        if len(paths) > 1:
            names = " and ".join(name for name, _ in paths)
            raise UserError(f"{place}: rows are at {names}; choose with --data-rows {paths[0][0]}")
        if paths:
            (name, rows) = paths[0]
            return rows, f"{path}.{name}" if path else name
        for read in (_by_id, _columns_of_lists):
            rows = read(document)
            if rows:
                return rows, f"{path or 'the whole file'}, {_LAYOUTS[read]}"
    raise UserError(
        f"{place}: there is no list of rows{where}. Name its path with --data-rows, such as "
        "--data-rows data.examples."
    )


def _row_lists(document: Mapping[str, Any], depth: int = 3) -> Iterable[tuple[str, list[Any]]]:
    """Yield the lists of objects in a document and their dotted paths."""
    for name, value in document.items():
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            yield name, value
        elif isinstance(value, Mapping) and depth > 1:
            yield from ((f"{name}.{p}", rows) for p, rows in _row_lists(value, depth - 1))


def _by_id(document: Mapping[str, Any]) -> list[Any]:
    """Return the records of an object from id to record; [] if it is none."""
    values = list(document.values())
    if len(values) < 2 or not all(isinstance(v, Mapping) and v for v in values):
        return []
    if all({*map(str, v)} == {str(i) for i in range(len(v))} for v in values):
        return _columns_of_lists({k: list(v.values()) for k, v in document.items()})
    fields = set.intersection(*(set(v) for v in values))
    return values if len(fields) >= 2 else []


def _columns_of_lists(document: Mapping[str, Any]) -> list[Any]:
    """Return the rows of an object from column to list of cells; [] if it is none."""
    cells = list(document.values())
    if len(cells) < 2 or not all(isinstance(c, list) and len(c) == len(cells[0]) for c in cells):
        return []
    return [dict(zip(document, row, strict=True)) for row in zip(*cells, strict=True)]


_LAYOUTS: dict[Callable[[Mapping[str, Any]], list[Any]], str] = {
    _by_id: "one record for each id",
    _columns_of_lists: "one list for each column",
}


# Tables of text


def _csv(text: str, source: "Source", place: str) -> Table:
    told, _, rest = text.partition("\n")
    if source.separator is None and told.startswith("sep=") and len(told.strip()) == 5:
        separator, text = told[4], rest  # the first line, as spreadsheets write it
    else:
        separator = _separator(text, source.separator)
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


def _separator(text: str, given: str | None) -> str:
    if given is not None:
        return {"tab": "\t", "\\t": "\t"}.get(given, given)
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
    return digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")


def readable(row: Row | BadRow) -> TypeGuard[Row]:
    """Tell whether a row could be read."""
    return not isinstance(row, BadRow)
