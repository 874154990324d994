"""Every command of `pas`."""

import typer

from flows.cli import (
    calibrate,
    catalogue,
    chat,
    data,
    demo,
    deploy,
    exports,
    finetune,
    health,
    judge,
    read,
    serve,
    server,
    status,
    study,
    training,
    vectors,
    watch,
)

app = typer.Typer(
    name="pas",
    help="Painless Activation Steering as a pipeline: a labelled data set becomes a promoted "
    "steering vector.\n\nStart with: pas demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    *(demo, data, training, finetune, study),
    *(vectors, read, calibrate, judge, serve, chat, exports, watch, catalogue),
    *(deploy, status, server, health),
):
    part.add_to(app)
