"""Files inside other files: gz, xz, bz2, zip and tar."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import IO

from pas.errors import UserError

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")

LIMIT = 2 << 30
"""Most bytes that a container may unpack to. A few kilobytes can be packed so that they unpack to
more than any memory holds."""
_Unpacking = gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File


def unpacked(data: bytes, member: str | None, place: str) -> tuple[bytes, dict[str, str]]:
    """Return the bytes of the file inside a container, or of the file itself.

    Args:
        data: The bytes of the file.
        member: Name of the file inside a zip or tar; by default the only one that may be a table.
        place: Name of the source, for error messages.

    Returns:
        The bytes, and how they were unpacked ("compression", "member").

    Raises:
        UserError: If the container is damaged or unknown, or does not say which file is meant.
    """
    facts: dict[str, str] = {}
    for magic, kind, opened in (
        (b"\x1f\x8b", "gzip", gzip.open),
        (b"\xfd7zXZ\x00", "xz", lzma.open),
        (b"BZh", "bzip2", bz2.open),
    ):
        if data.startswith(magic):
            try:
                with opened(io.BytesIO(data)) as file:
                    data, facts = _whole(file, place), {"compression": kind}
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
                raise _damaged(place, kind, error) from error
            break
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise UserError(f"{place}: this is an old workbook or document; save its sheet as csv")
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        raise UserError(f"{place}: zstd is not read; unpack the file, or pack it with gzip")
    for kind, known, extract in (
        ("zip", data.startswith((b"PK\x03\x04", b"PK\x05\x06")), _of_zip),
        ("tar", data[257:262] == b"ustar", _of_tar),
    ):
        if known:
            try:
                name, content = extract(data, member, place)
            except UserError:
                raise
            except Exception as error:  # their readers raise what they meet in a damaged file
                raise _damaged(place, kind, error) from error
            return content, facts | {"member": name}
    if member is not None:
        raise UserError(f"{place}: --data-member is for zip and tar files, which this is not")
    return data, facts


def _of_zip(data: bytes, member: str | None, place: str) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [i.filename for i in archive.infolist() if not i.is_dir()]
        if "[Content_Types].xml" in names:
            raise UserError(f"{place}: this is a workbook; save its sheet as csv")
        name = _member(names, member, place)
        if archive.getinfo(name).flag_bits & 1:
            raise UserError(f"{place}: {name} is encrypted; unpack it first")
        with archive.open(name) as file:
            return name, _whole(file, place)


def _of_tar(data: bytes, member: str | None, place: str) -> tuple[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        name = _member([m.name for m in tar.getmembers() if m.isfile()], member, place)
        file = tar.extractfile(name)
        return name, _whole(file, place) if file else b""


def _whole(file: IO[bytes] | _Unpacking, place: str) -> bytes:
    data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise UserError(
            f"{place}: unpacked it has more than {LIMIT / 2**30:g} GiB; unpack the file, and give "
            "the part that holds the items"
        )
    return data


def _damaged(place: str, kind: str, error: Exception) -> UserError:
    return UserError(
        f"{place}: the {kind} file cannot be read ({error or type(error).__name__}). Copy or pack "
        "it again, or unpack it."
    )


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
