"""What is written beside an exported file: where the numbers go, and how it differs from ours."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pas.files import write_whole
from pas.steering.intervention import Composition
from pas.steering.positions import GENERATED

EVERY_POSITION = (
    "It steers every position, also all of the prompt. pas steers the last prompt token and every "
    'new one unless it is asked for positions="all", which gives what this export gives.'
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
        differences: Sentences on how this differs from steering every position with pas.
    """

    consumer: str
    hook_point: str
    layer_numbering: str
    strength: str
    use: str
    positions: str = "all"
    differences: tuple[str, ...] = ()


def document(notes: Notes, composition: Composition, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the notes as one JSON-able document.

    Args:
        notes: The notes.
        composition: What was exported.
        facts: Format, model and origin.
    """
    try:
        release = version("painless-steering")
    except PackageNotFoundError:
        release = "unknown"  # the folder `pas` alone, without an installation
    vectors = [
        {
            "layer": one.vector.layer,  # counted from 0
            "site": one.vector.site,
            "strength": one.strength,
            "operation": one.operation,
            "task": one.vector.task,
            "method": one.vector.method,
            "digest": one.vector.digest,
        }
        for one in composition
    ]
    content = {"written_by": f"painless-steering {release}"} | facts | asdict(notes)
    differences = list(notes.differences)
    if any(one.positions == GENERATED for one in composition):
        differences.insert(0, EVERY_POSITION)
    return content | {"differences": differences, "vectors": vectors}


def notes_file(out: Path) -> Path:
    """Return where the notes on a file or folder are: in the folder, else beside the file."""
    return out / "pas-export.json" if out.is_dir() else out.with_name(out.name + ".json")


def write_notes(out: Path, content: dict[str, Any]) -> Path:
    """Write the notes on a file or folder; return where they are."""
    file = notes_file(out)
    write_whole(file, (json.dumps(content, indent=2) + "\n").encode())
    return file
