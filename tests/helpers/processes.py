"""Trainings in processes of their own."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE = 240  # seconds, for a cold machine with two busy cores
# What two trainings of the same inputs tell alike.
SAME = (
    "method",
    "layer",
    "strength",
    "baseline_accuracy",
    "steered_accuracy",
    "p_value",
    "verdict",
)


def environment(home: Path) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PAS_", "PREFECT_", "MLFLOW_"))}
    # Two forward passes a shard: slow enough on any machine to be caught in the middle.
    return own | {"PAS_HOME": str(home), "PAS_SHARD_TOKENS": "60", "PAS_BATCH_TOKENS": "60"}


def training(data: Path, model: Path, *options: str) -> list[str]:
    """The command of a training on toy questions; options take the place of those given here."""
    return [
        sys.executable, "-m", "flows.cli", "train", "--task", "toy", "--data", str(data),
        "--model", str(model), "--group-col", "topic", "--layers", "1,2", "--strengths", "1,4",
        "--json", *options,
    ]  # fmt: skip


def result_of(process: subprocess.Popen[str], patience: float = PATIENCE) -> dict[str, Any]:
    """What a command printed as JSON; it must end well."""
    out, err = process.communicate(timeout=patience)
    assert process.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def bound_by_rights() -> None:
    """Give up root's right to read and write everything; for `preexec_fn`, on Linux.

    What belongs to somebody else is then as far away for root as for anyone, and the interpreter,
    which belongs to root, is still there.
    """
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for right in (0, 1, 2, 3):  # CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH and FOWNER
            if libc.prctl(24, right, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "the right cannot be given up")


def give_to_somebody_else(folder: Path) -> None:
    """Make everything in a folder another user's, who lets others read what their umask lets.

    Without root's rights, only the right to write is taken away.
    """
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
        else:
            path.chmod(path.stat().st_mode & 0o555)
