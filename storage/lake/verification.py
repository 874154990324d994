"""Damaged files: found before they are used, set aside, and made anew by whoever wants them.

A file is verified on its first use in a process: its checksum, then what it says of itself against
its address. A file without a checksum, from an older release, is read and checked as a whole.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from storage.lake import answers, shards, stages, tables
from storage.lake.checksum import is_damaged
from storage.lake.files import ACTIVATIONS_FOLDER, QUARANTINE, FileVersion, Lake
from storage.lake.schema import require_known

log = logging.getLogger("pas")

_CHECKS = {
    ACTIVATIONS_FOLDER: shards.check_shard,
    answers.ANSWERS: answers.check_answers,
    stages.STAGES: stages.check_stage,
    tables.TABLES_FOLDER: tables.check_run_table,
}
# What pyarrow and a check raise for content that is not what they expect.
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError)
_READERS = 4  # files that are verified at a time
# What this process has verified. Written anew, a file has another version.
_verified: set[tuple[str, str, FileVersion]] = set()


class FileReport(NamedTuple):
    """Result of `verify`; `reason` is empty when `ok`."""

    address: str
    ok: bool
    reason: str
    bytes: int


def verify(lake: Lake, address: str, *, values: bool = True) -> FileReport:
    """Read a whole file and check everything that readers rely on.

    Args:
        lake: The lake.
        address: The file.
        values: Check the rows of a file with a right checksum too: those that were written wrong.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If the lake cannot be read, or a newer release has written the file.
    """
    with lake.open_whole(address) as file:
        damaged, reason = is_damaged(file), ""
        size = file.seek(0, os.SEEK_END)
        try:
            if damaged:
                raise ValueError("its checksum differs")
            unknown = damaged is None
            if not unknown:
                require_known(file, f"lake {lake.name}: {address}")
            with pq.ParquetFile(file, page_checksum_verification=unknown) as parquet:
                check = _CHECKS.get(address.partition("/")[0])
                if check is not None:
                    check(address, parquet, values=values or unknown)
                elif unknown:
                    parquet.read()
        except _UNREADABLE as error:
            reason = str(error) or type(error).__name__
    return FileReport(address, not reason, reason, size)


def intact(lake: Lake, address: str) -> bool:
    """Return whether there is a finished file at the address that can be used.

    A damaged one is set aside, with a warning.
    """
    version = lake.version(address)
    return version is not None and intact_files(lake, {address: version}) == [address]


def intact_files(lake: Lake, files: Mapping[str, FileVersion]) -> list[str]:
    """Return those of the files that can be used; damaged ones are set aside, with a warning.

    Args:
        lake: The lake.
        files: From its listing.

    Raises:
        UserError: If the lake cannot be read, or a damaged file not be moved.
    """
    good = []
    new = {a: version for a, version in files.items() if (lake.url, a, version) not in _verified}
    # Hashing leaves the interpreter to other threads, and an object store answers several at once.
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(new, pool.map(partial(_damage, lake), new, new.values()), strict=True))
    for address in files:
        damage = found.get(address, "")
        if damage == "":
            good.append(address)
        elif damage is not None:
            lake.set_aside(address)
            log.warning(
                "lake: %s is damaged (%s) and is set aside in %s/", address, damage, QUARANTINE
            )
    return good


def _damage(lake: Lake, address: str, version: FileVersion) -> str | None:
    """Return what is wrong with a file, empty if nothing; None if it is gone."""
    try:
        report = verify(lake, address, values=False)
    except FileNotFoundError:
        return None
    if report.ok:
        _verified.add((lake.url, address, version))
    return report.reason
