"""The command line `pas`. Heavy libraries are imported by the command that needs them."""

import sys

import typer

from flows.cli import (
    catalogue,
    data,
    demo,
    deploy,
    finetune,
    health,
    study,
    training,
    vectors,
    watch,
)
from pas.errors import UserError

app = typer.Typer(
    name="pas",
    help="Painless Activation Steering as a pipeline: a labelled data set becomes a promoted "
    "steering vector.\n\nStart with: pas demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (demo, data, training, finetune, study, vectors, watch, deploy, catalogue, health):
    part.add_to(app)

USER_ERROR, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line; a user's mistake ends with exit code 2 and one message."""
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept and used by the next run\n")
        sys.exit(INTERRUPTED)
