"""The table of formats, and the export of a vector to one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pas.errors import UserError
from pas.models.spec import ModelSpec
from pas.steering.export.activations import write_activations
from pas.steering.export.additions import Steering, exportable
from pas.steering.export.checkpoint import write_checkpoint
from pas.steering.export.control_vector import write_llama_cpp, write_repeng
from pas.steering.export.hotwire import write_hotwire
from pas.steering.export.lm_eval import write_lm_eval
from pas.steering.export.notes import Notes, document, write_notes
from pas.steering.export.outline import ModelOutline, read_outline
from pas.steering.intervention import Composition


class Format(NamedTuple):
    """A format: what writes it, how its files end (a folder has no ending), and what it is."""

    write: Callable[[Path, Composition, ModelOutline], Notes]
    ending: str
    summary: str


FORMATS = {
    "gguf": Format(write_llama_cpp, ".gguf", "control vector for llama.cpp"),
    "lm-eval": Format(write_lm_eval, ".pt", "file of lm-eval's model `steered`"),
    "hf": Format(write_checkpoint, "", "checkpoint with the vector as a bias"),
    "vllm": Format(write_hotwire, ".pt", "matrix for the vLLM plugin hotwire-vllm"),
    "steering-vectors": Format(write_activations, ".pt", "fields of the package's vector"),
    "repeng": Format(write_repeng, ".gguf", "control vector for repeng"),
}


class Exported(NamedTuple):
    """What an export wrote: the file or folder, and the notes on it."""

    path: Path
    notes_path: Path
    notes: dict[str, Any]


def export(
    steering: Steering,
    to: str,
    out: str | Path,
    *,
    strength: float | None = None,
    model: ModelSpec | str | None = None,
    cache_dir: Path | None = None,
) -> Exported:
    """Write a vector in the format of another program, and beside it how that program uses it.

    Args:
        steering: A vector, which is added with its own strength, or interventions.
        to: A name in `FORMATS`.
        out: The file, or the folder for a format that is one. A file that is there is replaced.
        strength: In place of a single vector's strength; of several, a factor on each one's.
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
    composition = exportable(steering, strength)
    own = composition.interventions[0].vector.model
    spec = own if model is None else ModelSpec(model) if isinstance(model, str) else model
    outline = read_outline(spec, cache_dir)
    for one in composition:
        outline.check(one.vector)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        notes = form.write(out, composition, outline)
        facts = {
            "format": to,
            "model": {"id": spec.id, "revision": spec.revision},
            "same_model_as_trained": all(
                one.vector.fingerprint == outline.info.fingerprint for one in composition
            ),
        }
        content = document(notes, composition, facts)
        return Exported(out, write_notes(out, content), content)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error})") from error
