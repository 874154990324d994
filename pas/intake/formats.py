"""From the bytes of a file to rows.

The content decides how a file is read, not its ending. What was decided is reported, and options of
`Source` overrule it.
"""

import io
import json
from typing import TYPE_CHECKING

from pas.errors import UserError
from pas.intake.containers import unpacked
from pas.intake.json_documents import read_json
from pas.intake.rows import BadRow, Row, Table
from pas.intake.text_tables import read_text_table

if TYPE_CHECKING:
    from pas.intake.sources import Source


def read_table(data: bytes, source: "Source", place: str) -> Table:
    """Read a file's rows.

    Args:
        data: The bytes of the file.
        source: Its options overrule what is detected.
        place: Name of the source, for error messages.

    Raises:
        UserError: If the file is empty, or is not a table of a known format.
    """
    data, packed = unpacked(data, source.member, place)
    if not data.strip():
        raise UserError(f"{place}: the file is empty")
    if source.format == "parquet" or (source.format is None and data[:4] == b"PAR1"):
        table = _parquet(data, place)
    else:
        text, encoding = _decoded(data, source.encoding, place)
        kind = source.format or _kind(text)
        if kind == "json":
            table = read_json(text, source.rows, place)
        else:
            table = read_text_table(text, source, place)
        table.facts["encoding"] = encoding
    if not table.rows:
        raise UserError(
            f"{place}: no rows. It was read as {table.facts['format']}. Give a csv, tsv, json, "
            "jsonl or parquet file with at least one item, or say what it is with --data-format."
        )
    return table._replace(facts=packed | table.facts)


def _decoded(data: bytes, encoding: str | None, place: str) -> tuple[str, str]:
    """Return the text and the encoding's name."""
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if encoding is None and data.startswith(mark):
            encoding = name
    try:
        text = data.decode(encoding or "utf-8-sig")
        if "\0" in text:
            raise _no_text(place)
        return text.removeprefix("\ufeff"), encoding or "utf-8"
    except (UnicodeError, LookupError) as error:
        if encoding is not None:
            raise UserError(
                f"{place}: the file cannot be read with --data-encoding {encoding} ({error})"
            ) from error
    if b"\0" in data:
        raise _no_text(place)
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


def _no_text(place: str) -> UserError:
    return UserError(
        f"{place}: the file has NUL characters, so it is no text, or in another encoding. Give a "
        "table of text, JSON or Parquet, or name the encoding with --data-encoding, such as "
        "utf-16-le"
    )


def _kind(text: str) -> str:
    """Return "json" or "csv", by the first character and a first value that is complete."""
    start = text.lstrip()
    if start[:1] not in ("{", "["):
        return "csv"
    try:
        json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return "csv" if start[:1] == "[" and "," not in start.split("\n", 1)[0] else "json"
    return "json"


def _parquet(data: bytes, place: str) -> Table:
    import pyarrow.parquet as pq

    try:
        rows: list[Row | BadRow] = pq.read_table(io.BytesIO(data)).to_pylist()
    except Exception as error:  # its conversions to Python's values have errors of their own
        raise UserError(f"{place}: the Parquet file cannot be read ({error})") from error
    return Table(rows, {"format": "Parquet"})
