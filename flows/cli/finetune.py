"""`pas finetune`."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from flows.cli.display import Json, Verbose, print_json, print_table, say
from flows.cli.options import command_with

if TYPE_CHECKING:
    from pas.options import Option

_EXAMPLES = """
Fine-tune the demo's model on the demo's data, then steer the result:

    pas finetune --task demo --prompt plain

    pas train --task demo --prompt plain --model FOLDER --methods caa,random

The methods that look at the model's mistakes need some among the training items; a model that has
learnt them all makes none. Use --methods caa or fewer --epochs then.
"""
# What a model is taught does not depend on these.
_OF_STEERING = {
    "dtype",
    "quantization",
    "length_norm",
    "methods",
    "layers",
    "strengths",
    "site",
    "shots",
    "select",
    "max_kl",
    "instruction",
    "asked_examples",
}


def _options() -> "Sequence[Option]":
    from pas.finetune.settings import FineTuning
    from pas.options import options_of
    from pas.recipe import Recipe

    taught = [option for option in options_of(Recipe) if option.name not in _OF_STEERING]
    return [*taught, *options_of(FineTuning)]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    summary = "Fine-tune a model on a data set's training items, to compare with steering it."
    help_text = f"{summary}\n{_EXAMPLES}"
    app.command("finetune", help=help_text, cls=command_with(_options))(finetune)


def finetune(context: typer.Context, json: Json = False, verbose: Verbose = False) -> None:
    """Fine-tune a model."""
    from flows.cli.session import begin, call
    from pas.finetune.settings import FineTuning
    from pas.options import as_arguments, options_of, read_dataclass
    from pas.recipe import Recipe

    given = context.obj
    own = {option.name for option in options_of(FineTuning)}
    recipe = Recipe.read({name: value for name, value in given.items() if name not in own})
    tuning = read_dataclass(FineTuning, {name: given[name] for name in own if name in given})
    begin(verbose=verbose)
    from pas.finetune.training import read_fine_tuned, require_libraries

    require_libraries()
    from flows.finetune import finetune as run

    tuned = read_fine_tuned(call(run, recipe, tuning))
    if json:
        print_json(tuned._asdict())
        return
    first, last = tuned.losses[0], tuned.losses[-1]
    rows = [
        ("folder", str(tuned.folder)),
        ("training items", str(tuned.n_items)),
        ("loss per answer token", f"{first:.3f} to {last:.3f} in {len(tuned.losses)} steps"),
        ("seconds", f"{tuned.seconds:.1f}"),
    ]
    print_table(f"Fine-tuned on {recipe.task}", ("", ""), rows)
    # The folder holds one revision.
    next_recipe = recipe.but(model=str(tuned.folder), revision=None)
    say(f"next: {shlex.join(['pas', 'train', *as_arguments(Recipe, next_recipe)])}")
