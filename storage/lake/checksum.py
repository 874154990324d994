"""The checksum of a lake file: over every byte of it, stored in its own footer.

A Parquet file ends with its metadata. The checksum is an entry of them, written as zeros, then
filled in: it is that of the file with the zeros. So a file is checked from its bytes alone, and
stays one that every reader of Parquet opens.
"""

from __future__ import annotations

from typing import BinaryIO

from storage.lake.footer import entry, read_footer

KEY = "pas.checksum"
BLANK = "0" * 32
# No text can contain it, because JSON escapes such characters.
_ENTRY = entry(KEY, len(BLANK))
_BLOCK = 1 << 20  # bytes; one buffer that is filled again stays in the processor's cache


def fill_in(file: BinaryIO) -> None:
    """Replace the zeros of a file that was written with `{KEY: BLANK}` by its checksum.

    Args:
        file: The whole file, open for reading and writing.

    Raises:
        ValueError: If the file has no such entry.
    """
    place = _place(file)
    if place is None:
        raise ValueError(f"the file was written without {KEY}")
    digest = _digest(file, place)
    file.seek(place)
    file.write(digest)


def is_damaged(file: BinaryIO) -> bool | None:
    """Return whether a file's bytes are not those that were written; None if it has no checksum.

    Args:
        file: The whole file, open for reading.
    """
    place = _place(file)
    if place is None:
        return None
    file.seek(place)
    return file.read(len(BLANK)) != _digest(file, place)


def _place(file: BinaryIO) -> int | None:
    """Return where the checksum begins, or None."""
    footer = read_footer(file)
    if footer is None:
        return None
    found = footer.content.rfind(_ENTRY)
    return None if found < 0 else footer.start + found + len(_ENTRY)


def _digest(file: BinaryIO, place: int) -> bytes:
    """Return the checksum of a file with the checksum's own place blank."""
    from xxhash import xxh3_128  # many times faster than reading, which blake2b is not

    digest, block, done = xxh3_128(), memoryview(bytearray(_BLOCK)), 0
    file.seek(0)
    while n := file.readinto(block):  # type: ignore[attr-defined]
        first, last = max(place - done, 0), min(place + len(BLANK) - done, n)
        if first < last:
            block[first:last] = BLANK[: last - first].encode()
        digest.update(block[:n])
        done += n
    return digest.hexdigest().encode()
