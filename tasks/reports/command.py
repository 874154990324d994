"""How to repeat a training: its command line, and what it was made from."""

import shlex
from collections.abc import Mapping
from typing import Any

from pas.options import as_arguments
from pas.recipe import Recipe


def command_line(recipe: Recipe) -> str:
    """Return `pas train` with the options that differ from the defaults, quoted for a shell."""
    return shlex.join(["pas", "train", *as_arguments(Recipe, recipe)])


def run_facts(run_id: str, lineage: Mapping[str, Any]) -> dict[str, str]:
    """Return what identifies a run, from its lineage (`lineage.json`)."""
    return {
        "MLflow run": run_id,
        "Data digest": str(lineage["data_digest"]),
        "Model fingerprint": str(lineage["model_fingerprint"]),
        "Code digest": str(lineage["code_digest"]),
        "Versions": ", ".join(f"{name} {v}" for name, v in lineage["versions"].items()),
    }
