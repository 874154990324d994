"""`pas status` and `pas metrics`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.display import Json, print_json, print_table, say, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from tasks.status import Status

_PATIENCE = 5.0  # seconds for a server's answer


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status", help=status.__doc__)(status)
    app.command("metrics", help=metrics.__doc__)(metrics)


def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every few seconds until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 5.0,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write it as a page to this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Show champions, candidates, schedules, workers, the queue and the cache."""
    if watch:
        _watch(every)
        return
    found = _ask()
    if html is not None:
        from pas.errors import UserError
        from tasks.reports.status_page import status_page

        try:
            html.write_text(status_page(found), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--html {html}: cannot be written ({error.strerror})") from error
        say(f"page: {html}")
    if json:
        print_json(found.as_dict())
    elif html is None:
        _show(found)


def metrics(
    file: Annotated[
        Path | None,
        typer.Option(help="Write them to this file, for node_exporter's textfile collector."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Serve them on this port until Ctrl-C, asked for each time."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
) -> None:
    """Print the status as OpenMetrics text; docs/metrics.md lists the names.

    pas metrics --file /var/lib/node_exporter/pas.prom
    """
    import sys

    from tasks.metrics import exposition, registry, write_exposition

    if file is not None:
        write_exposition(_ask(), file)
    if port is not None:
        from prometheus_client import start_http_server

        from pas.errors import UserError

        try:
            server, thread = start_http_server(port, host, registry(_ask))
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: {error.strerror}") from error
        say(f"metrics: http://{host}:{server.server_port}/metrics; end with Ctrl-C")
        thread.join()
    if file is None and port is None:
        sys.stdout.write(exposition(_ask()))


def _ask() -> "Status":
    from flows.embedded import running_server
    from storage.settings import settings
    from tasks.status import gather

    return gather(settings(), running_server(settings().root, _PATIENCE))


def _watch(every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            live.update(_drawn(_ask()), refresh=True)
            time.sleep(every)


def _drawn(found: "Status") -> "Group":
    from rich.console import Group
    from rich.text import Text

    drawn: list[Text | Table] = []
    for title, header, rows in _tables(found):
        drawn += [Text(title, style="bold"), table(header, rows)]
    return Group(*drawn, *map(Text, _notes(found)))


def _show(found: "Status") -> None:
    for title, header, rows in _tables(found):
        print_table(title, header, rows)
    for note in _notes(found):
        say(note)


def _tables(found: "Status") -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    from tasks import status as words

    tables = [
        ("Vectors", words.VECTOR_HEADER, words.rows_of_vectors(found)),
        ("Work pools", words.POOL_HEADER, words.rows_of_pools(found)),
        ("Schedules", words.SCHEDULE_HEADER, words.rows_of_schedules(found)),
    ]
    return [(title, tuple(header), rows) for title, header, rows in tables if rows]


def _notes(found: "Status") -> list[str]:
    from tasks.status import lake_in_words, server_in_words

    return [
        *([] if found.vectors else ["no vector is registered yet; make one with pas train"]),
        lake_in_words(found),
        server_in_words(found),
        *(f"problem: {problem}" for problem in found.problems),
    ]
