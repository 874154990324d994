"""The footer of a Parquet file, read from its bytes.

Entries of ours are found in it without pyarrow, which takes long to import for what only compares
bytes.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

_MAGIC = b"PAR1"
_END = 8  # bytes: the length of the footer, and the magic


class Footer(NamedTuple):
    """A footer.

    Attributes:
        start: Where it begins in the file, in bytes.
        content: Its bytes, in Thrift's compact protocol.
    """

    start: int
    content: bytes


def read_footer(file: BinaryIO) -> Footer | None:
    """Return the footer of a file; None if the file is no Parquet file.

    Args:
        file: The whole file, open for reading.
    """
    size = file.seek(0, os.SEEK_END)
    if size < len(_MAGIC) + _END:
        return None
    file.seek(size - _END)
    [length] = struct.unpack("<I", file.read(4))
    if file.read(4) != _MAGIC:
        return None
    start = max(0, size - _END - length)
    file.seek(start)
    return Footer(start, file.read(size - _END - start))


def entry(key: str, length: int) -> bytes:
    """Return how an entry of the key-value metadata begins: a key, and a value of so many bytes.

    Two strings with their lengths, as Thrift's compact protocol writes them; both are below 128.
    """
    return b"\x18" + bytes([len(key)]) + key.encode() + b"\x18" + bytes([length])
