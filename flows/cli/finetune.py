"""`pas finetune`."""

import shlex
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

_EXAMPLES = """
Fine-tune the demo's model on the demo's data, then steer the result:

    pas finetune --task demo

    pas train --task demo --model FOLDER --methods caa,random

The methods that look at the model's mistakes need some among the training items; a model that has
learnt them all has none, and then --methods caa, or fewer --epochs, is what remains.
"""
# What the folder has no need of: it holds one revision, and no code of its own is fetched.
_OF_THE_BASE = ("model", "revision")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    summary = "Fine-tune a model on a data set's training items, to compare with steering it."
    app.command("finetune", help=f"{summary}\n{_EXAMPLES}")(finetune)


def finetune(
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    trust_remote_code: TrustRemoteCode = False,
    protocol: Annotated[str, typer.Option(help="sound or paper, as in the training.")] = "sound",
    scoring: Annotated[
        str, typer.Option(help="Teach the letter, the choice's text, or what the task has.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of split, choice order and training.")] = 0,
    order_seed: Annotated[int | None, typer.Option(help="Of the choice order alone.")] = None,
    max_items: Annotated[int, typer.Option(help="Cap on the items, drawn by seed.")] = 4000,
    train_items: Annotated[int | None, typer.Option(help="Cap on the training items.")] = None,
    rank: Annotated[int, typer.Option(help="Of the adapters.")] = 16,
    alpha: Annotated[float, typer.Option(help="Scale of the adapters, over rank.")] = 32.0,
    dropout: Annotated[float, typer.Option(help="Share of inputs dropped.")] = 0.05,
    learning_rate: Annotated[float, typer.Option(help="At its height.")] = 2e-4,
    epochs: Annotated[int, typer.Option(help="Times every item is seen.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Items of one step.")] = 16,
    max_steps: Annotated[int | None, typer.Option(help="End after so many steps.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune a model."""
    given: dict[str, Any] = dict(locals())
    from flows.cli.session import begin, call

    begin(verbose=verbose)
    from pas.finetune.settings import FineTuning
    from pas.finetune.training import read_fine_tuned, require_libraries
    from pas.recipe import Recipe

    require_libraries()
    given["choices_col"] = tuple(c.strip() for c in choices_col.split(",") if c.strip())
    asked = {f.name: given[f.name] for f in fields(Recipe) if f.name in given}
    recipe = Recipe(**asked)
    tuning = FineTuning(**{field.name: given[field.name] for field in fields(FineTuning)})
    from flows.finetune import finetune as run

    tuned = read_fine_tuned(call(run, recipe, tuning))
    if json:
        print_json(tuned._asdict())
        return
    first, last = tuned.losses[0], tuned.losses[-1]
    rows = [
        ("folder", str(tuned.folder)),
        ("training items", str(tuned.n_items)),
        ("loss per answer token", f"{first:.3f} to {last:.3f} in {len(tuned.losses)} steps"),
        ("seconds", f"{tuned.seconds:.1f}"),
    ]
    print_table(f"Fine-tuned on {task}", ("", ""), rows)
    say(f"next: {_next(recipe, str(tuned.folder))}")


def _next(recipe: Any, folder: str) -> str:
    """Return the command that trains on the result, with all that was not left at its default."""
    words = ["pas", "train", "--task", recipe.task, "--model", folder]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if field.name in ("task", *_OF_THE_BASE) or value == field.default:
            continue
        words.append("--" + field.name.replace("_", "-"))
        if value is not True:
            words.append(",".join(value) if isinstance(value, tuple) else str(value))
    return shlex.join(words)
