"""The schema number of a lake file: which release can read it.

Each Parquet file has it in its footer. It rises when what a file of any kind means changes, so an
older release says that it cannot read the file, in place of taking it for damaged or reading it as
something else. Files without a number are of releases before there was one.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

from pas.errors import UserError

KEY = "pas.schema"
NUMBER = 1
# The entry as Thrift's compact protocol writes it: two strings with their lengths.
_ENTRY = re.compile(b"\x18" + bytes([len(KEY)]) + KEY.encode() + rb"\x18[\x01-\x04](\d{1,4})")
_MAGIC = b"PAR1"


def require_known(file: BinaryIO, name: str) -> None:
    """Refuse a file of a newer release.

    Args:
        file: The whole file, open for reading.
        name: Of the file, for the message.

    Raises:
        UserError: If its schema number is larger than this release knows.
    """
    size = file.seek(0, os.SEEK_END)
    if size < 12:
        return
    file.seek(size - 8)
    [length] = struct.unpack("<I", file.read(4))
    if file.read(4) != _MAGIC:
        return
    file.seek(max(0, size - 8 - length))
    found = _ENTRY.search(file.read(length))
    if found is not None:
        require_schema(int(found[1]), NUMBER, name)


def require_schema(found: object, known: int, name: str) -> None:
    """Refuse what a newer release has written.

    Args:
        found: The schema number of what was read; None where it has none.
        known: The largest that this release reads.
        name: What it is, for the message.

    Raises:
        UserError: If the number is larger, or is none.
    """
    if found is None or (type(found) is int and found <= known):
        return
    raise UserError(
        f"{name} has schema {found}, and this release reads {known}: it was written by a newer "
        "one. Update painless-steering; nothing was changed."
    )
