"""`pas read`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.display import Json, print_json, say
from flows.cli.references import Reference

if TYPE_CHECKING:
    from pas.steering.read import Reading


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("read", help=read.__doc__)(read)


def read(
    reference: Reference,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to read.")] = None,
    file: Annotated[Path | None, typer.Option(help="File with further texts, one a line.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write them as a page to this file.")] = None,
    json: Json = False,
) -> None:
    """Show how far each token of a text lies along a vector; nothing is steered.

    pas read pas-smollm2-135m-instruct-demo "It was a treat." "It was a waste of money."

    The value of a token is the component of its hidden state along the vector, in units of the
    vector's norm. Texts are read as they are, without a chat template.
    """
    from flows.cli.references import named
    from pas.errors import UserError
    from pas.steering.vector import SteeringVector

    wanted = [*(texts or []), *(lines_of(file, "--file") if file else [])]
    if not wanted:
        raise UserError("give texts to read, or --file FILE")
    vector = named(reference).steering
    if not isinstance(vector, SteeringVector):
        raise UserError(f"{reference}: a composition has several directions; read one vector")
    from tasks import resources

    readings = vector.read(resources.model(vector.model), wanted)
    if html is not None:
        from tasks.reports.reading_page import reading_page

        try:
            html.write_text(reading_page(reference, readings), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--html {html}: cannot be written ({error.strerror})") from error
        say(f"page: {html}")
    if json:
        print_json(
            [
                {"text": text, "mean": r.mean, "tokens": r.tokens, "values": r.values.tolist()}
                for text, r in zip(wanted, readings, strict=True)
            ]
        )
    elif html is None:
        _show(readings)


def lines_of(file: Path, option: str) -> list[str]:
    """Return the lines of a file that are not empty.

    Raises:
        UserError: If it cannot be read; names the option.
    """
    from pas.errors import UserError

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{option} {file}: cannot be read ({reason})") from error
    return [line for line in lines if line.strip()]


def _show(readings: "list[Reading]") -> None:
    """Print the texts, coloured on a terminal; elsewhere each token with its value."""
    from rich.console import Console
    from rich.text import Text

    from tasks.reports.reading_page import coloured

    console = Console()
    for reading, tokens in zip(readings, coloured(readings), strict=True):
        line = Text(f"{reading.mean:+.2f}  ", style="bold")
        for token in tokens:
            if console.is_terminal:
                depth = round(200 * abs(token.share))
                colour = f"#{255 - depth:02x}{255 - depth // 2:02x}ff"
                if token.share < 0:
                    colour = f"#ff{255 - depth // 2:02x}{255 - depth:02x}"
                line.append(token.text, style=f"#000000 on {colour}")
            else:
                line.append(f"{token.text}[{token.value:+.2f}]")
        console.print(line, soft_wrap=True)
