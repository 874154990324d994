"""`pas deploy`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.display import Json, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deploy", help=deploy.__doc__)(deploy)


def deploy(
    file: Annotated[
        Path | None,
        typer.Option(help="Deployments to make; the project's own prefect.yaml by default."),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Webhook that gets a document for each event."),
    ] = None,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Set parameters, schedules and switches as the files say."),
    ] = False,
    json: Json = False,
) -> None:
    """Make the deployments and automations on a team's Prefect server, or update them.

    What was set there stays: parameters, schedules, and automations that are paused.

    PREFECT_API_URL=http://127.0.0.1:4200/api pas deploy
    """
    from flows.cli.session import begin
    from flows.runtime import make_home
    from pas.errors import UserError
    from storage.settings import settings
    from tasks.prefect_api import prefect_setting

    if file is not None and not file.is_file():
        raise UserError(f"--file {file}: there is no such file")
    if prefect_setting(settings().root, "PREFECT_API_URL") is None:
        raise UserError(
            "PREFECT_API_URL: set it to the address of the server, such as "
            "http://127.0.0.1:4200/api; docs/deploy.md tells how to start one"
        )
    begin()
    make_home(settings().root)
    from flows.deployment import DEPLOYMENTS
    from flows.deployment import deploy as run

    names = run(file or DEPLOYMENTS, notify, reset=reset)
    if json:
        print_json(names)
    else:
        say(f"deployed: {', '.join(names)}")
