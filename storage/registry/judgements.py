"""Win rates of a vector's texts, kept with the run that trained it."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.http import redacted
from storage.registry.client import client
from storage.registry.versions import VectorVersion
from storage.settings import Registry


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
        store.log_artifact(version.run_id, str(file), "judgements")
