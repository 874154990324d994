"""`pas train` and `pas tasks`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.data import (
    MappingFile,
    SaveMapping,
    save,
    show_items,
    show_mapping,
    show_warnings,
    with_mapping_file,
)
from flows.cli.display import Json, Verbose, print_checks, print_json, print_table, say, waiting
from flows.cli.options import command_with

if TYPE_CHECKING:
    from pas.options import Option
    from tasks.forecast import Forecast
    from tasks.look import Look

_EXAMPLES = """
Train on your own data; what the columns hold is recognised (look first: pas data tickets.csv):

    pas train --task returns --data tickets.csv --choices-col good,bad --scoring choice

Try a built-in task under both protocols:

    pas train --task bbq_age --data Age.jsonl --protocol paper --max-items 200

See the cost first:

    pas train --task bbq_age --data Age.jsonl --dry-run
"""

Workers = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes that share extraction and sweep: this one, and workers of the deployment "
        "share.",
    ),
]


def _options() -> "Sequence[Option]":
    from pas.options import options_of
    from pas.recipe import Recipe

    return options_of(Recipe)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    summary = "Make a steering vector from a labelled data set."
    app.command("train", help=f"{summary}\n{_EXAMPLES}", cls=command_with(_options))(train)
    app.command("retrain", help=retrain.__doc__, cls=command_with(_options))(retrain)
    app.command("tasks", help="List the built-in tasks.")(tasks)


def train(
    context: typer.Context,
    mapping: MappingFile = None,
    save_mapping: SaveMapping = None,
    workers: Workers = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what it would take, without loading a model.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a steering vector from a labelled data set."""
    found, expected = _before(context, mapping, verbose, with_server=not dry_run)
    if save_mapping is not None:
        save(found, save_mapping)
    if not json and found.taken.mapping is not None:
        show_mapping(found)
        show_items(found, 1)
        show_warnings(found)
    if dry_run:
        if json:
            print_json(expected._asdict())
        else:
            print_table("What it would take", ("", ""), expected.rows())
        return
    from flows.cli.session import call
    from flows.train import train as run

    trained = call(run, found.recipe, workers=workers)
    if json:
        print_json(trained.outcome.as_dict())
        return
    show(trained)
    verdict = trained.evaluation.verdict
    print_checks(f"Is the gain real? {verdict.label}", verdict.findings)


def _before(
    context: typer.Context, mapping: Path | None, verbose: bool, *, with_server: bool = True
) -> "tuple[Look, Forecast]":
    """Read the recipe and its data: mistakes are told before a flow is started."""
    from pas.recipe import Recipe

    recipe = Recipe.read(with_mapping_file(context.obj, mapping))
    from flows.cli.session import begin

    begin(verbose=verbose, with_server=with_server)
    from tasks.forecast import forecast
    from tasks.look import look

    with waiting(f"reading the data of {recipe.task}"):
        found = look(recipe, "tokenizer")
    return found, forecast(found.recipe, found.taken)


def retrain(
    context: typer.Context,
    mapping: MappingFile = None,
    workers: Workers = 1,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train only if data, model, recipe or code have changed since a registered version.

    It takes the options of pas train. This is what a schedule runs; for data that grow:

    pas retrain --task returns --data tickets.csv --split-rule stable
    """
    found, _ = _before(context, mapping, verbose)
    from flows.cli.session import call
    from flows.retrain import retrain as run

    done = call(run, found.recipe, workers)
    if json:
        outcome = done.training.outcome.as_dict() if done.training else None
        print_json(done._asdict() | {"training": outcome})
    elif done.training is not None:
        show(done.training)


def show(trained: Any) -> None:
    """Print a training's evidence."""
    from tasks.reports.page import report_file

    outcome = trained.outcome
    print_table(outcome.title, ("evidence", "measured", "how to read it"), trained.findings)
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in outcome.seconds.items())
    say(f"seconds: {spent}")
    say(f"report: {report_file(outcome.run_id)}")
    say(f"run {outcome.run_id}; next: pas promote {outcome.model_name}")


def tasks(
    every: Annotated[
        bool, typer.Option("--all", help="List every task of a family, such as MMLU's subjects.")
    ] = False,
    json: Json = False,
) -> None:
    """List the built-in tasks."""
    from pas.datasets import benchmarks

    known = benchmarks()
    if json:
        names = (
            "task",
            "category",
            "scoring",
            "hub id",
            "revision",
            "origin",
            "licence",
            "what",
            "citation",
        )
        print_json(
            [
                dict(
                    zip(
                        names,
                        (
                            b.name,
                            b.category,
                            b.scoring,
                            b.hub_id,
                            b.revision,
                            b.origin,
                            b.licence,
                            b.summary,
                            b.citation,
                        ),
                        strict=True,
                    )
                )
                for b in known.values()
            ]
        )
        return
    rows = [
        (b.name, b.category, b.scoring, _rows_from(b), b.licence, b.summary)
        for b in known.values()
        if every or b.family is None
    ]
    for family in () if every else dict.fromkeys(b.family for b in known.values() if b.family):
        members = [b for b in known.values() if b.family == family]
        one = members[0]
        about = f"{len(members)} tasks such as {one.name}; pas tasks --all lists them"
        rows.append(
            (f"{family}_...", one.category, one.scoring, _rows_from(one), one.licence, about)
        )
    header = ("task", "category", "scoring", "rows from", "licence", "what")
    print_table("Built-in tasks", header, rows)


def _rows_from(benchmark: Any) -> str:
    """Where the rows come from, and whether they can change under the same name."""
    if benchmark.hub_id is None:
        origin = benchmark.origin or ""
        return origin if benchmark.generate else f"--data ({origin})"
    return f"{benchmark.hub_id} @ {(benchmark.revision or 'unpinned')[:8]}"
