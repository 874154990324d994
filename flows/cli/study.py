"""`pas study`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.display import Json, Verbose, print_json, print_table, say

_EXAMPLES = """
See what it would take, then run it; a second run goes on where the first one stopped:

    pas study studies/smoke.yaml --dry-run

    pas study studies/smoke.yaml

Let eight workers of a work pool share it (docs/deploy.md):

    pas study studies/paper.yaml --workers 8
"""
FAILED = 1
_COLUMNS = ("model", "task", "seeds", "unsteered", "steered", "gain", "p", "p, Holm", "verdicts")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    summary = "Train every model, task and seed of a YAML file, and report over all of them."
    app.command("study", help=f"{summary}\n{_EXAMPLES}")(study)


def study(
    file: Annotated[Path, typer.Argument(help="name, models, tasks, seeds; see studies/.")],
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the tasks' data files; default the study's own.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Cells in flight on workers, through the deployment study-cell."),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what it would take, without loading a model.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run a study; the exit code is 1 if one of its cells failed."""
    from flows.cli.session import begin, call

    begin(verbose=verbose, with_server=not dry_run)
    from pas.study.file import read_study

    plan = read_study(file, data_root)
    if dry_run:
        _forecast(plan, json)
        return
    from flows.study import study as run

    done = call(run, plan, shlex.join(["pas", *sys.argv[1:]]), workers)
    if json:
        print_json([result.as_dict() for result in done.results])
    else:
        _show(plan, done)
    if done.summary.failed:
        sys.exit(FAILED)


def _show(plan: Any, done: Any) -> None:
    print_table(f"Study {plan.name}", _COLUMNS, [_row(task) for task in done.summary.tasks])
    if done.summary.others:
        others = [t for rows in done.summary.others.values() for t in rows]
        rows = [(f"{t.setting} {t.variant}".strip(), *_row(t)) for t in others]
        print_table("Other settings", ("setting", *_COLUMNS), rows)
    if done.summary.arms:
        print_table(
            "Steering and other treatments of the same items",
            ("setting", "model", "task", "seeds", "neither", "steering", "treatment", "both"),
            [
                (a.setting, a.model, a.task, len(a.seeds))
                + tuple(f"{x:.3f}" for x in (a.plain, a.steered, a.treated, a.both))
                for a in done.summary.arms
            ],
        )
    for cell in done.summary.failed:
        say(f"failed: {cell.place}: {cell.failed}")
    say(f"report: {done.page}")


def _row(task: Any) -> tuple[str, ...]:
    test = task.test
    return (
        task.model,
        task.task,
        str(len(task.seeds)),
        f"{task.baseline_accuracy:.3f}",
        f"{task.steered_accuracy:.3f}",
        f"{test.mean:+.3f}",
        "-" if test.p_value is None else f"{test.p_value:.3f}",
        "-" if task.adjusted_p is None else f"{task.adjusted_p:.3f}",
        ", ".join(f"{n} {label}" for label, n in task.verdicts.items()),
    )


def _forecast(plan: Any, json: bool) -> None:
    """Print what every cell would take if it were the only one."""
    from pas.study.plan import cells
    from tasks.forecast import forecast_cell
    from tasks.results import read_result, result_stage

    rows: list[dict[str, Any]] = []
    for cell in cells(plan):
        done = read_result(result_stage(cell)) is not None
        found = forecast_cell(cell)
        rows.append(
            {
                "setting": f"{cell.setting} {cell.variant}".strip(),
                "model": cell.recipe.model.id,
                "task": cell.recipe.task,
                "seed": cell.recipe.seed,
                "done": done,
            }
            | {k: v for k, v in found._asdict().items() if k != "items"}
            | found.items
        )
    if json:
        print_json(rows)
        return
    todo = [row for row in rows if not row["done"]]
    shown = ("train", "val", "test", "configurations", "prompts", "tokens", "steered_rows")
    print_table(
        f"Study {plan.name}: what it would take",
        ("setting", "model", "task", "seed", *shown, "TFLOP", ""),
        [
            (
                r["setting"],
                r["model"],
                r["task"],
                str(r["seed"]),
                *(f"{r.get(k, 0):,}" for k in shown),
                f"{r['teraflops']:,.1f}",
                "done" if r["done"] else "",
            )
            for r in rows
        ],
    )
    total = {k: sum(r[k] for r in todo) for k in ("tokens", "steered_rows", "bytes", "teraflops")}
    say(
        f"to do: {len(todo)} of {len(rows)} cells, at most {total['tokens']:,} tokens through "
        f"the whole model and {total['steered_rows']:,} steered rows, {total['teraflops']:,.0f} "
        f"TFLOP, {total['bytes'] / 1e6:,.1f} MB of activations; seeds share prompts, so less"
    )
