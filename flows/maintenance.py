"""Maintenance: the lake is checked and tidied, and an embedded home is backed up."""

import logging
from pathlib import Path
from typing import NamedTuple

from prefect import flow

from flows.artifacts import publish_maintenance
from flows.states import ended
from storage.lake.compaction import Merge
from tasks.upkeep import Garbage, back_up, collect_garbage, compact

log = logging.getLogger("pas")


class Upkeep(NamedTuple):
    """What maintenance did.

    Attributes:
        removed: Files of the lake, with the reasons; not removed yet if `dry_run` was asked for.
        merged: Small files that became one; not yet if `dry_run` was asked for.
        backup: Where the home's stores were copied to; None where they were not.
    """

    removed: list[Garbage]
    merged: list[Merge]
    backup: Path | None


@flow(name="maintenance", flow_run_name="maintenance")
def maintenance(
    older_than_days: float | None = None, backup: str | None = None, dry_run: bool = False
) -> Upkeep:
    """Check the lake, remove what is broken, left over or old, merge small files, and back up.

    Args:
        older_than_days: Remove activations that were written longer ago, too; they can be computed
            again. None keeps all.
        backup: Folder on the worker that gets a dated copy of the stores in `PAS_HOME`, without
            activations. Stores that are elsewhere are backed up there.
        dry_run: Only say what would be removed.

    Raises:
        UserError: If the backup's folder is inside the home.
    """
    removed = collect_garbage(older_than_days, dry_run=dry_run)
    for entry in removed:
        log.info("maintenance: %s: %s", entry.address, entry.reason)
    merged = compact(dry_run=dry_run)
    log.info("maintenance: %d small files merged", sum(len(m.addresses) for m in merged))
    copied = None if backup is None else back_up(Path(backup))
    if copied is not None:
        log.info("maintenance: the home was copied to %s", copied)
    done = Upkeep(removed, merged, copied)
    publish_maintenance(removed, merged, copied, dry_run=dry_run)
    size = sum(entry.bytes for entry in removed) / 1e6
    verb = "to remove" if dry_run else "removed"
    return ended("Completed", f"{len(removed)} files {verb}, {size:.1f} MB", done)
