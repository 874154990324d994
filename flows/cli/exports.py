"""`pas export`: vectors in the formats of other programs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.display import Json, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export", help=export.__doc__)(export)


def export(
    reference: Annotated[
        str,
        typer.Argument(
            help="NAME, NAME@alias, NAME:version, or the folder of a vector or composition."
        ),
    ],
    to: Annotated[
        str, typer.Option(help="Format: gguf, lm-eval, hf, vllm, steering-vectors or repeng.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, or folder for the format hf.")],
    strength: Annotated[
        float | None,
        typer.Option(help="Of the vector, its own by default; of a composition, a factor on all."),
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
    from flows.cli.session import begin, check_stores
    from pas.steering.intervention import load_steering

    if Path(reference).is_dir():
        begin(with_server=False)
        steering: Any = load_steering(reference)
    else:
        check_stores()
        begin(with_server=False)
        from storage.registry.versions import load_vector, resolve
        from tasks import resources

        steering = load_vector(resources.registry(), resolve(resources.registry(), reference))
    from pas.steering.export.formats import export as run
    from storage.settings import settings

    cache = settings().cache_dir
    made = run(steering, to, out, strength=strength, model=model, cache_dir=cache)
    if json:
        print_json({"path": str(made.path), "notes_path": str(made.notes_path)} | made.notes)
        return
    if not made.notes["same_model_as_trained"]:
        say("note: the model or its libraries changed since training; the effect may differ")
    say(f"{made.path}: for {made.notes['consumer']}; {made.notes_path.name} tells how it is used")
    say(f"use: {made.notes['use']}")
    for difference in made.notes["differences"]:
        say(f"note: {difference}")
