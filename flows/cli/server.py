"""`pas up` and `pas down`: one Prefect server that stays for a home."""

from typing import Annotated

import typer

from flows.cli.display import say


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up", help=up.__doc__)(up)
    app.command("down", help=down.__doc__)(down)


def up(
    port: Annotated[
        int | None, typer.Option(help="Port on loopback; 4200 by default, or a free one.")
    ] = None,
) -> None:
    """Start a Prefect server for this home that stays, with its pages and its scheduler.

    Commands in this home find it and start faster. `pas down` ends it.
    """
    from flows.embedded import find_staying, start_staying
    from flows.runtime import make_home, prepare_environment
    from pas.errors import UserError
    from storage.http import without_credentials
    from storage.settings import settings
    from tasks.prefect_api import prefect_setting

    home = settings().root
    if url := prefect_setting(home, "PREFECT_API_URL"):
        raise UserError(
            f"PREFECT_API_URL is set: commands use the server at {without_credentials(url)}"
        )
    prepare_environment(home)
    make_home(home)
    staying = find_staying(home) or start_staying(home, port)
    say(f"Prefect's pages: {staying.address} (process {staying.process.pid}); end with: pas down")


def down() -> None:
    """End the server that `pas up` started."""
    from flows.embedded import find_staying, stop_staying
    from storage.settings import settings

    home = settings().root
    staying = find_staying(home)
    if staying is None:
        say(f"no server stays for {home}")
        return
    stop_staying(home, staying)
    say(f"ended the server at {staying.address}")
