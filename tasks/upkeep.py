"""Upkeep: verifying the lake's files, removing what is not needed, backing up the home."""

import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from pas.errors import UserError
from storage.lake.compaction import TARGET_BYTES, Merge, merge, small_files
from storage.lake.files import ACTIVATIONS_FOLDER, QUARANTINE, Lake
from storage.lake.stages import SHARES, SWEEP_SHARES
from storage.lake.verification import FileReport, verify
from storage.settings import DATABASE, settings

_ABANDONED_DAYS = 1.0  # after which nobody is at shared work any more


class Garbage(NamedTuple):
    """A file to remove, and why."""

    address: str
    reason: str
    bytes: int


def verify_files() -> list[FileReport]:
    """Read and check every file of the lake."""
    lake, reports = settings().open_lake(reading=True), list[FileReport]()
    for address in tqdm(lake.list(), desc="files", disable=None, delay=2):
        with suppress(FileNotFoundError):  # removed since it was listed
            reports.append(verify(lake, address))
    return reports


def collect_garbage(older_than_days: float | None, *, dry_run: bool) -> list[Garbage]:
    """Remove unfinished files, abandoned shares, damaged files and, on request, old shards.

    Args:
        older_than_days: Shards that are older are removed too; None keeps all.
        dry_run: Only list them.

    Returns:
        What was (or would be) removed.
    """
    lake = settings().open_lake()
    found = [Garbage(a, "left by an interrupted writer", lake.size(a)) for a in lake.stray_files()]
    found += [Garbage(r.address, r.reason, r.bytes) for r in verify_files() if not r.ok]
    aside = lake.files(QUARANTINE, suffix="")
    found += [Garbage(a, "damaged, was set aside", v.size) for a, v in aside.items()]
    known = {entry.address for entry in found}
    for folder in (SHARES, SWEEP_SHARES):
        abandoned = _not_written_for(_ABANDONED_DAYS, lake, folder)
        found += [Garbage(a, "part of work that was abandoned", n) for a, n in abandoned.items()]
    if older_than_days is not None:
        reason = f"not written for {older_than_days:g} days"
        old = _not_written_for(older_than_days, lake, ACTIVATIONS_FOLDER)
        found += [Garbage(a, reason, n) for a, n in old.items() if a not in known]
    if not dry_run:
        for entry in found:
            lake.remove(entry.address)
    return found


def _not_written_for(days: float, lake: Lake, folder: str) -> dict[str, int]:
    """Return address and bytes of the files of a folder that are as old as that."""
    before = datetime.now(UTC) - timedelta(days=days)
    files = lake.files(folder, suffix="")
    return {a: version.size for a, version in files.items() if lake.written(a) < before}


def compact(target: int = TARGET_BYTES, *, dry_run: bool) -> list[Merge]:
    """Merge small files of activations and answers.

    Args:
        target: Bytes of a merged file.
        dry_run: Only list what would be merged.

    Returns:
        What was (or would be) merged.
    """
    lake = settings().open_lake()
    found = small_files(lake, target)
    if dry_run:
        return found
    merged = tqdm(found, desc="merged files", disable=None, delay=2)
    return [chosen for chosen in merged if merge(lake, chosen) is not None]


def back_up(folder: Path) -> Path:
    """Copy the stores that are in the home to a dated folder, without what can be made again.

    The activations and Prefect's own files are left out. The MLflow database is copied as of one
    moment, also while runs write to it. Stores elsewhere (another lake, an MLflow server) are not
    in the home: their own back-ups have them.

    Args:
        folder: Where the dated folder is made; not in the home.

    Raises:
        UserError: If the folder is in the home, or there is no home to copy.
    """
    home, folder = settings().root, folder.expanduser().resolve()
    if folder.is_relative_to(home):
        raise UserError(f"--backup {folder}: it is inside the home {home}; give another folder")
    if not home.is_dir():
        raise UserError(f"PAS_HOME {home}: there is nothing to back up; every store is elsewhere")
    copy = folder / f"pas-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    unfinished = copy.with_name(f".{copy.name}")
    lake = settings().open_lake()
    left_out = {home / "prefect", Path(lake.path(ACTIVATIONS_FOLDER))}

    def ignored(at: str, names: list[str]) -> set[str]:
        paths = {name: Path(at) / name for name in names}
        return {n for n, p in paths.items() if p in left_out or n.startswith(DATABASE)}

    shutil.copytree(home, unfinished, ignore=ignored)
    if (home / DATABASE).is_file():
        with (
            closing(sqlite3.connect(home / DATABASE)) as source,
            closing(sqlite3.connect(unfinished / DATABASE)) as target,
        ):
            source.backup(target)
    unfinished.rename(copy)
    return copy
