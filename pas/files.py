"""Files that libraries write for their owner alone, made readable as the umask allows."""

from pathlib import Path
from uuid import uuid4


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Of several processes that write it, the last one stays."""
    # Not by `tempfile`, whose files nobody else may read.
    unfinished = path.with_name(f".tmp-{uuid4().hex}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def make_readable(folder: Path) -> None:
    """Give all files below a folder the rights of any new file, as the umask has them."""
    new = folder / f".tmp-{uuid4().hex}"
    new.touch()
    rights = new.stat().st_mode
    new.unlink()
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(rights)
