"""The checksum of a lake file: over every byte of it, stored in its own footer.

A Parquet file ends with its metadata. The checksum is an entry of them, written as zeros, then
filled in: it is that of the file with the zeros. So a file is checked from its bytes alone, and
stays one that every reader of Parquet opens.
"""

from __future__ import annotations

import struct

KEY = "pas.checksum"
BLANK = "0" * 32
# The entry as Thrift's compact protocol writes it: two strings with their lengths. No text can
# contain it, because JSON escapes such characters.
_ENTRY = b"\x18" + bytes([len(KEY)]) + KEY.encode() + b"\x18" + bytes([len(BLANK)])
_MAGIC = b"PAR1"


def fill_in(data: bytearray) -> None:
    """Replace the zeros of a file that was written with `{KEY: BLANK}` by its checksum.

    Args:
        data: The whole file.

    Raises:
        ValueError: If the file has no such entry.
    """
    place = _place(data)
    if place is None:
        raise ValueError(f"the file was written without {KEY}")
    data[place : place + len(BLANK)] = _digest(data, place)


def is_damaged(data: bytes) -> bool | None:
    """Return whether a file's bytes are not those that were written; None if it has no checksum.

    Args:
        data: The whole file.
    """
    place = _place(data)
    return None if place is None else _digest(data, place) != data[place : place + len(BLANK)]


def _place(data: bytes | bytearray) -> int | None:
    """Return where the checksum begins, or None."""
    if len(data) < 12 or data[-4:] != _MAGIC:
        return None
    [length] = struct.unpack("<I", data[-8:-4])
    entry = data.rfind(_ENTRY, max(0, len(data) - 8 - length))
    return None if entry < 0 else entry + len(_ENTRY)


def _digest(data: bytes | bytearray, place: int) -> bytes:
    from xxhash import xxh3_128  # many times faster than reading, which blake2b is not

    view = memoryview(data)
    digest = xxh3_128(view[:place])
    digest.update(BLANK.encode())
    digest.update(view[place + len(BLANK) :])
    return digest.hexdigest().encode()
