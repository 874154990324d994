"""`pas data`: look at a data set before it is used."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.display import Json, print_json, print_table, say, waiting
from flows.cli.options import command_with

if TYPE_CHECKING:
    from pas.options import Option
    from pas.recipe import Recipe
    from tasks.look import Look

_EXAMPLES = """
See how a file is read, what the model will see, and what may be wrong:

    pas data tickets.csv

Say what could not be recognised, and keep it for the team:

    pas data tickets.csv --choices-col good,bad --save-mapping tickets.yaml

Check the lengths for a model, and write a page for a colleague:

    pas data tickets.csv --model Qwen/Qwen2.5-0.5B-Instruct --html tickets.html
"""
# What changes how items are read and shown; the rest of a recipe is about the training.
_OF_DATA = {"protocol", "scoring", "seed", "keep_splits", "prompt", "system", "close_thinking"}
_SHOWN, _ON_PAGE = 3, 20
# These parts of a mapping are found together with the choices.
_PARTS = dict.fromkeys(
    ("correct", "incorrect", "fixed_choices", "candidate", "choices_in_question"), "choices"
)
MappingFile = Annotated[
    Path | None, typer.Option("--mapping", help="Mapping file, as --save-mapping writes it.")
]
SaveMapping = Annotated[
    Path | None, typer.Option("--save-mapping", help="Write the mapping to this YAML file.")
]


def _options() -> "Sequence[Option]":
    from pas.options import options_of
    from pas.recipe import Recipe

    about_data = ("data", "mapping", "bad_rows")
    return [
        option
        for option in options_of(Recipe)
        if option.name in _OF_DATA or (option.path[0] in about_data and option.name != "data")
    ]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    summary = "Look at a labelled data set: how it is read, and what the model will see."
    app.command("data", help=f"{summary}\n{_EXAMPLES}", cls=command_with(_options))(data)


def data(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="File, folder, URL or hub id.")],
    task: Annotated[
        str | None, typer.Option(help="Read it as this built-in task does (see pas tasks).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Show prompts in this model's chat template, and its context window."),
    ] = None,
    mapping: MappingFile = None,
    save_mapping: SaveMapping = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with twenty items to this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Look at a data set."""
    from pas.recipe import Recipe

    given = context.obj | {"data": source, "task": task or _task_name(source)}
    if model is not None:
        given["model"] = model
    recipe = Recipe.read(with_mapping_file(given, mapping))
    command = _train_command(Recipe.read(given), mapping)
    from tasks.look import look

    with waiting(f"reading {source}"):
        found = look(recipe, "unused" if model is None else "checked")
    if save_mapping is not None:
        save(found, save_mapping)
    if html is not None:
        _write_page(found, html, command)
    if json:
        print_json(found.as_dict() | {"train": command})
        return
    _show(found)
    say(f"next: {command}")


def _write_page(found: "Look", file: Path, command: str) -> None:
    from pas.errors import UserError
    from tasks.reports.data_page import data_page

    try:
        file.write_text(data_page(found, found.rendered(_ON_PAGE), command), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--html {file}: cannot be written ({error.strerror})") from error
    say(f"page: {file}")


def with_mapping_file(given: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """Return recipe fields with those of a mapping file; what the command line says goes first.

    Raises:
        UserError: If the file cannot be read.
    """
    if file is None:
        return dict(given)
    from pas.intake.mapping_file import read_mapping
    from pas.options import flat
    from pas.recipe import Recipe

    kept = flat(Recipe, read_mapping(file))
    unset = (None, False, "auto")
    return dict(given) | {k: v for k, v in kept.items() if given.get(k) in unset}


def save(found: "Look", file: Path) -> None:
    """Write the mapping of a data set to a file.

    Raises:
        UserError: If the data is a built-in task's, which has none, or the file cannot be written.
    """
    from pas.errors import UserError
    from pas.intake.mapping_file import write_mapping

    recipe = found.recipe
    if found.taken.mapping is None:
        raise UserError(f"--save-mapping: {recipe.task} is built in and needs no mapping")
    write_mapping(file, found.taken.mapping, recipe.data, recipe.scoring)
    say(f"mapping: {file}")


def show_mapping(found: "Look") -> None:
    """Print how a data set is read and how rows become items."""
    from pas.intake.survey import unused_columns

    taken, part = found.taken, found.taken.part
    rows = [(name, value, "") for name, value in part.facts.items()]
    if part.name:
        others = [
            f"{n} ({'not counted' if rows is None else f'{rows} rows'})"
            for n, rows in found.other_parts.items()
        ]
        rows.append(
            ("split", f"{part.name}, {len(part.rows)} rows", f"others: {', '.join(others)}")
        )
    reasons = {reason.part: reason for reason in taken.reasons}
    for name, value in (taken.mapping.given() if taken.mapping else {}).items():
        if value is False:
            continue
        reason = reasons.get(_PARTS.get(name, name.replace("_", " ")))
        why = f"{reason.sure}: {reason.why}" if reason else _said(name, found)
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        rows.append((name.replace("_", " "), shown, why))
    unused = ", ".join(unused_columns(taken))
    if unused:
        rows.append(("not used", unused, "no part of an item"))
    rows += [("scoring", *_scoring(found)), ("prompt", *_prompt(found))]
    print_table(f"How {found.recipe.source.name} is read", ("part", "is", "why"), rows, ("part",))
    print_table("Counts", ("", ""), _counts(found))


def _said(name: str, found: "Look") -> str:
    """Say where a part of the mapping that has no reason comes from."""
    if name in ("label_kind", "label_base") and found.taken.reasons:
        return "certain: the only reading that fits the labels"
    return "given"


def _scoring(found: "Look") -> tuple[str, str]:
    if found.recipe.scored_by == "letter":
        return "letter", "the prompt lists the choices, and the model answers with a letter"
    if found.taken.preference:
        return "choice", "an item has two texts, and the likelihood of each is compared"
    return "choice", "the likelihood of each choice's text after the question"


def _prompt(found: "Look") -> tuple[str, str]:
    if found.chat is not None:
        return "chat", "the model's own chat template"
    if found.model != "unused":
        return "plain", "the text as it is"
    return found.recipe.prompt, "shown as plain text; name the --model to see its chat template"


def _counts(found: "Look") -> list[tuple[str, str]]:
    counts = found.counts
    lines = [
        ("items", f"{counts.items:,}"),
        ("choices", ", ".join(f"{n} items with {k}" for k, n in counts.choices.items())),
        ("correct choice", ", ".join(f"number {k + 1}: {n}" for k, n in counts.labels.items())),
        ("groups", f"{counts.groups:,}"),
    ]
    if counts.skipped:
        lines.append(("left out", f"{counts.skipped:,} rows"))
    if found.longest is not None:
        length, window = found.longest
        lines.append(("longest prompt", f"{length} tokens; the model's window is {window or '?'}"))
    return lines


def show_items(found: "Look", n: int) -> None:
    """Print the first items as the model will see them."""
    for item in found.rendered(n):
        marks = ["correct" if at == item.label else "" for at in range(len(item.choices))]
        rows = [("prompt", item.prompt), *zip(marks, item.choices, strict=True)]
        print_table(f"Item {item.id}, as the model sees it", ("", ""), rows, unfolded=("",))


def show_warnings(found: "Look") -> None:
    """Print what may be wrong, on stderr."""
    for warning in found.warnings:
        say(f"warning: {warning}")
    for row in found.taken.skipped[:8]:
        say(f"left out: {row}")


def _show(found: "Look") -> None:
    columns = [
        (name, " | ".join(" ".join(v.split())[:60] for v in values))
        for name, values in found.columns.items()
    ]
    print_table("Columns", ("column", "first values"), columns)
    show_mapping(found)
    show_items(found, _SHOWN)
    show_warnings(found)


def _task_name(source: str) -> str:
    """Return a name for a task, from the source's."""
    stem = Path(source.rstrip("/")).name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:80] or "my-task"


def _train_command(recipe: "Recipe", mapping: Path | None) -> str:
    """Return the command that trains on these data, with what was given here."""
    from pas.options import as_arguments
    from pas.recipe import Recipe

    words = ["pas", "train", *as_arguments(Recipe, recipe)]
    return shlex.join([*words, "--mapping", str(mapping)] if mapping else words)
