"""Upkeep of the lake: verifying shards and removing what is not needed."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tqdm.auto import tqdm

from storage.lake.files import Lake
from storage.lake.shards import ShardReport, verify_shard
from tasks import resources
from tasks.shares import FOLDER
from tasks.sweep import SWEEP_SHARES

ACTIVATIONS = "activations"
_ABANDONED_DAYS = 1.0  # after which nobody is at shared work any more


class Garbage(NamedTuple):
    """A file to remove, and why."""

    address: str
    reason: str
    bytes: int


def verify_shards() -> list[ShardReport]:
    """Read and check every shard of the lake."""
    lake = resources.lake()
    addresses = lake.list(ACTIVATIONS)
    return [
        verify_shard(lake, address)
        for address in tqdm(addresses, desc="shards", disable=None, delay=2)
    ]


def collect_garbage(older_than_days: float | None, *, dry_run: bool) -> list[Garbage]:
    """Remove unfinished files, abandoned shares, broken shards and, on request, old shards.

    Args:
        older_than_days: Shards that are older are removed too; None keeps all.
        dry_run: Only list them.

    Returns:
        What was (or would be) removed.
    """
    lake = resources.lake()
    found = [Garbage(a, "left by an interrupted writer", lake.size(a)) for a in lake.stray_files()]
    found += [Garbage(r.address, r.reason, r.bytes) for r in verify_shards() if not r.ok]
    known = {entry.address for entry in found}
    for folder in (FOLDER, SWEEP_SHARES):
        abandoned = _not_written_for(_ABANDONED_DAYS, lake, folder)
        found += [Garbage(a, "part of work that was abandoned", n) for a, n in abandoned.items()]
    if older_than_days is not None:
        reason = f"not written for {older_than_days:g} days"
        old = _not_written_for(older_than_days, lake, ACTIVATIONS)
        found += [Garbage(a, reason, n) for a, n in old.items() if a not in known]
    if not dry_run:
        for entry in found:
            lake.remove(entry.address)
    return found


def _not_written_for(days: float, lake: Lake, folder: str) -> dict[str, int]:
    """Return address and bytes of the files of a folder that are as old as that."""
    before = datetime.now(UTC) - timedelta(days=days)
    sizes = lake.sizes(folder, suffix="")
    return {address: n for address, n in sizes.items() if _written(lake, address) < before}


def _written(lake: Lake, address: str) -> datetime:
    when: datetime = lake.fs.modified(lake.path(address))
    return when if when.tzinfo else when.replace(tzinfo=UTC)
