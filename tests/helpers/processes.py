"""Trainings in processes of their own."""

import os
from pathlib import Path

PATIENCE = 240  # seconds, for a cold machine with two busy cores


def environment(home: Path) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PAS_", "PREFECT_", "MLFLOW_"))}
    # Two forward passes a shard: slow enough on any machine to be caught in the middle.
    return own | {"PAS_HOME": str(home), "PAS_SHARD_TOKENS": "60", "PAS_BATCH_TOKENS": "60"}
