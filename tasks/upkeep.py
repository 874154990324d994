"""Upkeep of the lake: verifying shards and removing what is not needed."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tqdm.auto import tqdm

from storage.lake.files import Lake
from storage.lake.shards import ShardReport, verify_shard
from tasks import resources

ACTIVATIONS = "activations"


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
    """Remove unfinished files, broken shards and, on request, old shards.

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
    if older_than_days is not None:
        before = datetime.now(UTC) - timedelta(days=older_than_days)
        found += [
            Garbage(address, f"not written for {older_than_days:g} days", size)
            for address, size in lake.sizes(ACTIVATIONS).items()
            if address not in known and _written(lake, address) < before
        ]
    if not dry_run:
        for entry in found:
            lake.remove(entry.address)
    return found


def _written(lake: Lake, address: str) -> datetime:
    when: datetime = lake.fs.modified(lake.path(address))
    return when if when.tzinfo else when.replace(tzinfo=UTC)
