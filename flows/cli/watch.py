"""`pas watch`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.display import Json, Verbose, print_json, print_table, say
from flows.cli.options import command_with

if TYPE_CHECKING:
    from pas.options import Option

DRIFTED = 1


def _options() -> "Sequence[Option]":
    """Return the recipe's options of where data come from."""
    from pas.options import options_of
    from pas.recipe import Recipe

    return [option for option in options_of(Recipe) if option.path[0] == "data"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch", help=watch.__doc__, cls=command_with(_options))(watch)


def watch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Registered model that has a champion.")],
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Score a champion on freshly labelled rows; the exit code is 1 if it has fallen.

    pas watch pas-smollm2-135m-instruct-returns --data this-week.csv

    The rows have the columns of the training's data; items that it had are left out. Every look is
    a step of the MLflow run "watch NAME".
    """
    from flows.cli.session import begin, call
    from pas.errors import UserError
    from pas.intake.sources import Source
    from pas.options import read_dataclass

    own = {option.name: option.path[1] for option in _options()}
    source = read_dataclass(Source, {own[name]: value for name, value in context.obj.items()})
    if source.name is None:
        raise UserError("--data: give the fresh rows")
    begin(verbose=verbose)
    from storage.registry.versions import CHAMPION, resolve
    from tasks import resources

    resolve(resources.registry(), f"{name}@{CHAMPION}")
    from flows.watch import watch as run

    found = call(run, name, source)
    drift = found.drift
    if json:
        print_json(
            {"name": name, "version": found.champion.version, "known": found.known}
            | {
                "finding": drift.finding if drift else None,
                "drifted": drift.drifted if drift else False,
                "fresh": drift.fresh.as_dict() if drift else None,
                "before": drift.before.as_dict() if drift else None,
            }
        )
    elif drift is None:
        say(f"{name}: all {found.known} items were in its training; there is nothing fresh")
    else:
        rows = [
            (what, str(part.n), f"{part.baseline_accuracy:.3f}", f"{part.steered_accuracy:.3f}",
             f"{part.delta:+.3f} ({part.ci_low:+.3f} to {part.ci_high:+.3f})")
            for what, part in (("fresh", drift.fresh), ("its test items", drift.before))
        ]  # fmt: skip
        title = f"{name} version {found.champion.version}: {drift.finding}"
        print_table(title, ("items", "n", "unsteered", "steered", "gain"), rows)
        say(drift.explanation)
    if drift is not None and drift.drifted:
        sys.exit(DRIFTED)
