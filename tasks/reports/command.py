"""How to do a training again: its command line, and what identifies what it was made from."""

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from pas.recipe import Recipe

_NO_CAP = 1_000_000_000  # the option takes a number; more items than any data set has is no cap


def command_line(recipe: Recipe) -> str:
    """Return `pas train` with the options that differ from the defaults, quoted for a shell."""
    words = ["pas", "train"]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        option = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
            continue
        if value is None:
            value = _NO_CAP if field.name == "max_items" else "none"
        words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(words)


def run_facts(run_id: str, lineage: Mapping[str, Any]) -> dict[str, str]:
    """Return what identifies a run, from its lineage (`lineage.json`)."""
    return {
        "MLflow run": run_id,
        "Data digest": str(lineage["data_digest"]),
        "Model fingerprint": str(lineage["model_fingerprint"]),
        "Code digest": str(lineage["code_digest"]),
        "Versions": ", ".join(f"{name} {v}" for name, v in lineage["versions"].items()),
    }
