"""`pas registry`: look after the registry."""

import typer

from flows.cli.display import Json, Verbose, print_json, print_table, say


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    registry = typer.Typer(no_args_is_help=True, help="Look after the registry of vectors.")
    registry.command("move", help=move.__doc__)(move)
    registry.command("reconcile", help=reconcile.__doc__)(reconcile)
    app.add_typer(registry, name="registry")


def move(json: Json = False) -> None:
    """After the home was moved or copied: name the new place of its artifacts in the database.

    PAS_HOME=/new/place pas registry move
    """
    from storage.registry.move import move as run
    from storage.settings import settings

    moved = run(settings().open_registry())
    if json:
        print_json([{"old": str(m.old), "new": str(m.new), "entries": m.entries} for m in moved])
        return
    for m in moved:
        say(f"{m.entries} entries: {m.old} is {m.new} now")
    if not moved:
        say("the artifacts are where the database says; nothing was changed")


def reconcile(json: Json = False, verbose: Verbose = False) -> None:
    """Judge every version that was never judged, and finish promotions that were cut off."""
    from flows.cli.session import begin, call

    begin(verbose=verbose)
    from flows.promote import reconcile as run

    decisions = call(run)
    if json:
        print_json(
            [{"name": d.name, "version": d.version, "decision": d.summary} for d in decisions]
        )
    elif decisions:
        rows = [(d.name, d.version, d.summary) for d in decisions]
        print_table("Decisions", ("vector", "version", "decision"), rows)
