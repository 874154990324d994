"""Files that are written whole, reach the disk, and can be read by others as the umask allows.

And those that a user writes in YAML.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from pas.errors import UserError

HALF_CHARACTERS = "the text has half a character, such as \\ud83d without its other half"
_HALF = re.compile("[\ud800-\udfff]")
TEMPORARY_PREFIX = ".tmp-"  # how the name of a file begins until it is whole


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all. Of several processes that write it, the last one stays.

    The content has reached the disk before the name stands for it, also after a
    power cut.

    Args:
        path: The file, in a folder that exists; one that is there stays until the new one is whole.
        content: All of it.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    # In the same folder, because a rename is atomic only within one file system; and not by
    # `tempfile`, whose files nobody else may read.
    unfinished = path.with_name(f"{TEMPORARY_PREFIX}{uuid4().hex}")
    try:
        with unfinished.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_readable(folder: Path) -> None:
    """Give all files below a folder the rights of any new file, as the umask has them."""
    new = folder / f"{TEMPORARY_PREFIX}{uuid4().hex}"
    new.touch()
    rights = new.stat().st_mode
    new.unlink()
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(rights)


def read_yaml(path: Path, place: str) -> Any:
    """Return the content of a YAML file; what it holds runs no code.

    Args:
        path: The file.
        place: What it is, for messages.

    Raises:
        UserError: If it cannot be read, or is no YAML.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror or error})") from error
    # A date that does not exist is a ValueError, brackets within too many others a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid YAML ({error}). Correct the file.") from error
    for text in _texts(document):
        if has_half_characters(text):
            raise UserError(f"{place}: {text[:60]!r}: {HALF_CHARACTERS}. Correct the file.")
    return document


def _texts(document: Any) -> Iterator[str]:
    """Yield every text of a document; its parts may be there several times, or hold themselves."""
    left, seen = [document], set[int]()
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict | list) and id(part) not in seen:
            seen.add(id(part))
            left += [*part, *part.values()] if isinstance(part, dict) else part


def has_half_characters(text: str) -> bool:
    """Whether a text has surrogates, of which two make a character: no encoding writes one."""
    return not text.isascii() and _HALF.search(text) is not None
