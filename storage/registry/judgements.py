"""Win rates of a vector's texts, kept with the run that trained it."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pas.errors import UserError
from storage.http import redacted
from storage.registry.client import client, download
from storage.registry.versions import VectorVersion
from storage.settings import Registry

FOLDER = "judgements"  # among a run's artifacts


def log_judgements(
    registry: Registry, version: VectorVersion, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Store win rates as metrics of a version's run, and as a file among its artifacts.

    Args:
        registry: The store.
        version: The version whose texts were judged.
        rows: `by`, `strength` and the fields of `pas.evidence.pairs.WinRate`.
    """
    store = client(registry)
    kept = [dict(row) | {"by": redacted(str(row["by"]))} for row in rows]
    for row in kept:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", row["by"]).strip("-")
        store.log_metric(
            version.run_id, f"judge/{name}/strength_{row['strength']:g}/win_rate", row["rate"]
        )
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"{stamp}.json"
        file.write_text(json.dumps(kept, indent=2) + "\n")
        store.log_artifact(version.run_id, str(file), FOLDER)


def read_judgements(registry: Registry, version: VectorVersion) -> list[dict[str, Any]]:
    """Return the rows that were stored for a version, the oldest first, each with its `day`.

    Raises:
        UserError: If a file of them is damaged.
    """
    store = client(registry)
    rows: list[dict[str, Any]] = []
    root = store.get_run(version.run_id).info.artifact_uri
    for name in sorted(file.path for file in store.list_artifacts(version.run_id, FOLDER)):
        with tempfile.TemporaryDirectory() as scratch:
            file = download(registry, f"{root}/{name}", Path(scratch))
            try:
                day = datetime.strptime(file.stem[:8], "%Y%m%d").date().isoformat()
                rows += [row | {"day": day} for row in json.loads(file.read_text())]
            except (ValueError, TypeError) as error:
                raise UserError(f"{root}/{name}: {error}; delete this artifact") from error
    return rows
