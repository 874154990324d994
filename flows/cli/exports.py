"""`pas export` and `pas import`: vectors in the formats of other programs."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from flows.cli.display import Json, print_json, say
from flows.cli.references import Reference


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export", help=export.__doc__)(export)
    app.command("import", help=import_.__doc__)(import_)


def export(
    reference: Reference,
    to: Annotated[
        str, typer.Option(help="Format: gguf, lm-eval, hf, vllm, steering-vectors or repeng.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, or folder for the format hf.")],
    strength: Annotated[
        str | None,
        typer.Option(
            help="Of the vector, its own by default, auto for the one that pas calibrate found; of "
            "a composition, a factor on all."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model, if its files are not where they were at the training."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a vector for another program, such as llama.cpp or lm-eval.

    pas export pas-smollm2-135m-instruct-demo@champion --to gguf --out polite.gguf

    Beside it is a JSON file that tells where the program adds the vector, to which positions, and
    how that differs from steering with pas. docs/exports.md has the formats.
    """
    from flows.cli.references import named, strength_of

    found = named(reference)
    steering: Any = found.steering
    factor = None if strength is None else strength_of(strength, found)
    from pas.steering.export.formats import export as run
    from storage.settings import settings

    cache = settings().cache_dir
    made = run(steering, to, out, strength=factor, model=model, cache_dir=cache)
    if json:
        print_json({"path": str(made.path), "notes_path": str(made.notes_path)} | made.notes)
        return
    if not made.notes["same_model_as_trained"]:
        say("note: the model or its libraries changed since training; the effect may differ")
    say(f"{made.path}: for {made.notes['consumer']}; {made.notes_path.name} tells how it is used")
    say(f"use: {made.notes['use']}")
    for difference in made.notes["differences"]:
        say(f"note: {difference}")
    if strength == "auto":
        say("note: auto was found where pas steers, and every position takes more damage from it")


def import_(
    file: Annotated[
        Path, typer.Argument(help="GGUF control vector, .safetensors, or .pt with tensors alone.")
    ],
    model: Annotated[str, typer.Option(help="The model that the vector was made on.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; the file's name without its ending.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Decoder blocks to take, such as 14 or 10,11; all.")
    ] = None,
    numbering: Annotated[
        str,
        typer.Option(help="What the layers of the file count: blocks, or hidden-states."),
    ] = "blocks",
    strength: Annotated[
        float | None, typer.Option(help="Factor on the vector; what the file says, else 1.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What the vector does, in a word; the file's name.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a vector of ours of one that llama.cpp, repeng, lm-eval or steering-vectors uses.

    pas import happy.gguf --model Qwen/Qwen2.5-7B-Instruct --layers 14

    The folder is a vector or, with several layers, a composition. pas steer, pas export
    and pas.load_steering take it. A file that could run code is not loaded.
    """
    from flows.cli.session import begin
    from pas.errors import UserError

    begin(with_server=False)
    from pas.steering.export.foreign import Choice, Numbering, import_vector
    from pas.steering.intervention import Composition, interventions_of
    from storage.settings import settings

    target = out or Path(file.stem)
    if target.exists():
        raise UserError(f"--out {target}: it is there already; give another folder")
    taken = Choice(_layers(layers), cast("Numbering", numbering))
    cache = settings().cache_dir
    found = import_vector(file, model, taken, strength=strength, task=task, cache_dir=cache)
    found.save(target)
    rows = [
        {"layer": one.vector.layer, "site": one.vector.site, "strength": one.strength,
         "norm": one.vector.norm}
        for one in interventions_of(found)
    ]  # fmt: skip
    if json:
        kind = "composition" if isinstance(found, Composition) else "vector"
        print_json({"path": str(target), "kind": kind, "vectors": rows})
        return
    say(f"{target}: {len(rows)} layer{'s' if len(rows) > 1 else ''} of {file.name}, for {model}")
    if len(rows) == 1:
        say(
            "note: other tools steer every position, pas the last prompt token and every new one; "
            'positions="all" does as they do'
        )


def _layers(text: str | None) -> tuple[int, ...]:
    """Read a list of layers.

    Raises:
        UserError: If it is none.
    """
    from pas.errors import UserError

    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise UserError(f"--layers {text}: give numbers with commas, such as 10,11") from error
