"""What is written beside an exported file: where the numbers go, and how it differs from ours."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pas.files import write_whole
from pas.steering.export.additions import Addition

EVERY_POSITION = (
    "It steers every position, also all of the prompt. pas steers the last prompt token and every "
    'new one unless it is asked for positions="all", which gives what this file gives.'
)


@dataclass(frozen=True)
class Notes:
    """How a consumer uses a file.

    Attributes:
        consumer: The program that reads it.
        hook_point: Where the numbers are added, in the consumer's words.
        layer_numbering: What a layer's number in the file stands for.
        strength: Whether it is in the numbers, or given when they are used.
        use: How to use the file.
        positions: The positions that are steered.
        differences: Sentences on how this differs from steering with pas.
    """

    consumer: str
    hook_point: str
    layer_numbering: str
    strength: str
    use: str
    positions: str = "all"
    differences: tuple[str, ...] = (EVERY_POSITION,)


def document(notes: Notes, additions: Sequence[Addition], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the notes as one JSON-able document.

    Args:
        notes: The notes.
        additions: What was exported; layers are counted from 0.
        facts: Format, model and origin.
    """
    try:
        release = version("painless-steering")
    except PackageNotFoundError:
        release = "unknown"  # the folder `pas` alone, without an installation
    added = [{"layer": a.layer, "site": a.site, "strength": a.strength} for a in additions]
    origin = {"written_by": f"painless-steering {release}"}
    return origin | facts | asdict(notes) | {"additions": added}


def notes_file(out: Path) -> Path:
    """Return where the notes on a file or folder are: in the folder, else beside the file."""
    return out / "pas-export.json" if out.is_dir() else out.with_name(out.name + ".json")


def write_notes(out: Path, content: dict[str, Any]) -> Path:
    """Write the notes on a file or folder; return where they are."""
    file = notes_file(out)
    write_whole(file, (json.dumps(content, indent=2) + "\n").encode())
    return file
