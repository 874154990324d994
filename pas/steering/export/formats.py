"""The table of formats, and the export of a vector to one of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pas.errors import UserError
from pas.models.spec import ModelSpec
from pas.steering.export.additions import Addition, additions_of
from pas.steering.export.control_vector import write_llama_cpp, write_repeng
from pas.steering.export.notes import Notes, document, write_notes
from pas.steering.export.outline import ModelOutline, read_outline
from pas.steering.vector import SteeringVector


class Format(NamedTuple):
    """A format: what writes it, how its files end (a folder has no ending), and what it is."""

    write: Callable[[Path, Sequence[Addition], ModelOutline], Notes]
    ending: str
    summary: str


FORMATS = {
    "gguf": Format(write_llama_cpp, ".gguf", "control vector for llama.cpp"),
    "repeng": Format(write_repeng, ".gguf", "control vector for repeng"),
}


class Exported(NamedTuple):
    """What an export wrote: the file or folder, and the notes on it."""

    path: Path
    notes_path: Path
    notes: dict[str, Any]


def export(
    vector: SteeringVector,
    to: str,
    out: str | Path,
    *,
    strength: float | None = None,
    model: ModelSpec | str | None = None,
    cache_dir: Path | None = None,
) -> Exported:
    """Write a vector in the format of another program, and beside it how that program uses it.

    Args:
        vector: The vector.
        to: A name in `FORMATS`.
        out: The file, or the folder for a format that is one. A file that is there is replaced.
        strength: Factor on the vector; its own by default.
        model: The model, where its files are not where they were at the training.
        cache_dir: Folder for converted GGUF models and file hashes.

    Raises:
        UserError: If the format is unknown, or cannot hold what the vector does; the model is
            not there or another one; or the file cannot be written. Nothing is written then.
    """
    out = Path(out)
    if to not in FORMATS:
        raise UserError(f"--to {to}: there is no such format; give one of {', '.join(FORMATS)}")
    form = FORMATS[to]
    if out.suffix != form.ending and form.ending:
        raise UserError(f"--out {out}: a file of format {to} ends in {form.ending}")
    additions = additions_of(vector, strength)
    spec = vector.model if model is None else ModelSpec(model) if isinstance(model, str) else model
    outline = read_outline(spec, cache_dir)
    for addition in additions:
        outline.check(addition.layer, addition.direction.size)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        notes = form.write(out, additions, outline)
        facts = {
            "format": to,
            "model": {"id": spec.id, "revision": spec.revision},
            "same_model_as_trained": outline.info.fingerprint == vector.fingerprint,
            "origin": {"task": vector.task, "method": vector.method, "digest": vector.digest},
        }
        content = document(notes, additions, facts)
        return Exported(out, write_notes(out, content), content)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error})") from error
