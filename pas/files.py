"""Files: found by the name that a user gives, written whole, on the disk, readable by others."""

import os
from pathlib import Path
from uuid import uuid4

TEMPORARY_PREFIX = ".tmp-"  # how the name of a file begins until it is whole


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all. Of several processes that write it, the last one stays.

    The content has reached the disk before the name stands for it, also after a power cut.

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
    except OSError as error:
        error.filename = str(path)  # a failed write names no file, a failed rename the wrong one
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def existing(name: str) -> Path | None:
    """Return the file or folder that a user's text names; None if there is none of that name."""
    # Unlike `Path.exists`, this takes a text that cannot be a path, such as a too long one.
    path = os.path.expanduser(name)
    return Path(path) if os.path.exists(path) else None


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
