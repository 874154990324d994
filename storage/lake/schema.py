"""The schema number of a lake file: which release can read it.

Each Parquet file has it in its footer. It rises when what a file of any kind means changes, so an
older release says that it cannot read the file, in place of taking it for damaged or reading it as
something else. Files without a number are of releases before there was one.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from pas.errors import UserError
from storage.lake.footer import entry, read_footer

KEY = "pas.schema"
NUMBER = 1
_ENTRIES = re.compile(b"|".join(re.escape(entry(KEY, n)) + rb"(\d{%d})" % n for n in range(1, 5)))


def require_known(file: BinaryIO, name: str) -> None:
    """Refuse a file of a newer release.

    Args:
        file: The whole file, open for reading.
        name: Of the file, for the message.

    Raises:
        UserError: If its schema number is larger than this release knows.
    """
    footer = read_footer(file)
    found = None if footer is None else _ENTRIES.search(footer.content)
    if found is not None:
        require_schema(int(found[found.lastindex or 0]), NUMBER, name)


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
