"""Pickles: what one can do, and where they are."""

import pickle
import re
import zipfile
from pathlib import Path

# How a pickle of protocol 2 to 5 begins, and what is left of that in base64 within other text.
_PICKLE = re.compile(rb"\A\x80[\x02-\x05]")
_ENCODED = re.compile(rb"\bgA[I-V][A-Za-z0-9+/]{6}|\"type\": ?\"(compressed/)?pickle\"")


class Harmful:
    """Makes an empty file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.trace), "w")


def is_pickle(file: Path) -> bool:
    """Whether a file is, or has in it, what Python would unpickle."""
    content = file.read_bytes()
    if zipfile.is_zipfile(file):
        names = zipfile.ZipFile(file).namelist()
        return any(name.endswith(".pkl") for name in names)
    text = file.suffix in (".json", ".db") or b"\0" not in content[:1000]
    return bool(_PICKLE.match(content) or (text and _ENCODED.search(content)))


def pickled(trace: Path) -> bytes:
    """Return what makes an empty file when it is unpickled."""
    return pickle.dumps(Harmful(trace))
