"""`pas train` and `pas tasks`."""

from dataclasses import fields
from typing import Annotated, Any

import typer

from flows.cli.display import Json, Verbose, print_json, print_table, say
from flows.cli.options import (
    ChoicesCol,
    DataConfig,
    DataRevision,
    DataSource,
    DataSplit,
    GroupCol,
    IdCol,
    LabelCol,
    ModelName,
    QuestionCol,
    Revision,
    TaskName,
    TrustRemoteCode,
)
from pas.errors import UserError

_EXAMPLES = """
Train on your own data, one column per choice:

    pas train --task returns --data tickets.csv --question-col message \\
        --choices-col good,bad --label-col label --group-col template --scoring choice

Try a built-in task under both protocols:

    pas train --task bbq_age --data Age.jsonl --protocol paper --max-items 200

See what it would cost first:

    pas train --task bbq_age --data Age.jsonl --dry-run
"""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train", help=f"Make a steering vector from a labelled data set.\n{_EXAMPLES}")(
        train
    )
    app.command("tasks", help="List the built-in tasks.")(tasks)


def _max_kl(text: str) -> float | None:
    try:
        return None if str(text).lower() == "none" else float(text)
    except ValueError:
        raise UserError(f"--max-kl {text}: give a number above 0, or none for no limit") from None


def train(
    task: TaskName,
    data: DataSource = None,
    model: ModelName = "demo",
    question_col: QuestionCol = "question",
    choices_col: ChoicesCol = "choices",
    label_col: LabelCol = "label",
    group_col: GroupCol = None,
    id_col: IdCol = None,
    data_split: DataSplit = None,
    data_config: DataConfig = None,
    data_revision: DataRevision = None,
    revision: Revision = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="4bit or 8bit.")] = None,
    trust_remote_code: TrustRemoteCode = False,
    protocol: Annotated[str, typer.Option(help="sound, or paper to compare with it.")] = "sound",
    scoring: Annotated[
        str, typer.Option(help="letter, choice (likelihood of the text), or the task's own.")
    ] = "auto",
    length_norm: Annotated[
        bool, typer.Option(help="Choice scoring: mean per token, or the sum.")
    ] = True,
    methods: Annotated[
        str, typer.Option(help="Of pasf, ipasa, ipaswo, caa; random is the control.")
    ] = "pasf,ipasa,ipaswo,caa,random",
    layers: Annotated[str, typer.Option(help="auto, all, or such as 8,11,13.")] = "auto",
    strengths: Annotated[str, typer.Option(help="auto, or such as 0.5,1,4.")] = "auto",
    site: Annotated[str, typer.Option(help="residual, attention, mlp or mlp_norm.")] = "residual",
    seed: Annotated[int, typer.Option(help="Of split, choice order and controls.")] = 0,
    order_seed: Annotated[
        int | None,
        typer.Option(help="Of the choice order alone; held fixed, other seeds re-use prompts."),
    ] = None,
    max_items: Annotated[int, typer.Option(help="Cap on the items, drawn by seed.")] = 4000,
    train_items: Annotated[
        int | None, typer.Option(help="Cap on the training items alone.")
    ] = None,
    shots: Annotated[
        int, typer.Option(help="Worked examples before every prompt, of items answered wrongly.")
    ] = 0,
    select: Annotated[
        str,
        typer.Option(help="best; one-se or least-damage of those within a standard error of it."),
    ] = "best",
    max_kl: Annotated[
        float | None,
        typer.Option(
            parser=_max_kl,
            metavar="NUMBER|none",
            help="Largest damage to neutral text that selection accepts under the protocol sound: "
            "KL in nats per token; none for no limit.",
        ),
    ] = 0.1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost; load no model.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a steering vector from a labelled data set."""
    given: dict[str, Any] = dict(locals())
    from flows.cli.session import begin, call

    begin(verbose=verbose)
    from pas.recipe import Recipe

    given |= {"choices_col": _listed(choices_col), "methods": _listed(methods)}
    recipe = Recipe(**{field.name: given[field.name] for field in fields(Recipe)})
    from tasks.forecast import forecast

    expected = forecast(recipe)
    if dry_run:
        if json:
            print_json(expected._asdict())
        else:
            print_table("What it would take", ("", ""), expected.rows())
        return
    from flows.train import train as run

    trained = call(run, recipe)
    if json:
        print_json(trained.outcome.as_dict())
        return
    show(trained)


def show(trained: Any) -> None:
    """Print a training's evidence."""
    from tasks.record import report_file

    outcome = trained.outcome
    print_table(outcome.title, ("evidence", "measured", "how to read it"), trained.findings)
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in outcome.seconds.items())
    say(f"seconds: {spent}")
    say(f"report: {report_file(outcome.run_id)}")
    say(f"run {outcome.run_id}; next: pas promote {outcome.model_name}")


def tasks(
    every: Annotated[
        bool, typer.Option("--all", help="Every task of a family (MMLU's subjects) on a line.")
    ] = False,
    json: Json = False,
) -> None:
    """List the built-in tasks."""
    from pas.datasets import benchmarks

    known = benchmarks()
    if json:
        names = ("task", "category", "scoring", "hub id", "revision", "origin", "licence", "what",
                 "citation")  # fmt: skip
        print_json([
            dict(zip(names, (b.name, b.category, b.scoring, b.hub_id, b.revision, b.origin,
                             b.licence, b.summary, b.citation), strict=True))
            for b in known.values()
        ])  # fmt: skip
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


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
