"""A study: models x tasks x seeds in several settings, and the cells it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pas.finetune.settings import FineTuning
from pas.recipe import Recipe
from pas.study.results import SETTINGS, Setting

_FORGETTING_STRENGTHS = (0.5, 0.75, 1.0, 2.0, 3.0, 4.0, 5.0)  # METHOD.md, "The paper's grids"
_SHOTS = 10
TUNING_FIELDS = {field.name for field in fields(FineTuning)}


@dataclass(frozen=True)
class Study:
    """What is to be run.

    Attributes:
        name: Of the study: lower-case letters, digits, '.', '_', '-'.
        models: For each model its fields of `Recipe`, `model` among them.
        tasks: For each task its fields of `Recipe`, `task` among them.
        seeds: Of the trainings.
        recipe: Fields of `Recipe` for all tasks; a task's own come before them.
        settings: By name what is set for it; "main" is always among them.
        planning: Handed through uninterpreted; `benchmarks.planning` reads it.
    """

    name: str
    models: tuple[dict[str, Any], ...]
    tasks: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]
    recipe: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    planning: dict[str, Any]


@dataclass(frozen=True)
class StudyCell:
    """One row of a study's results before there is one.

    Attributes:
        setting: See `pas.study.results.StudyResult`.
        variant: Likewise.
        recipe: The training; for "forgetting" the one whose vector is tried.
        tuning: Of "sft": how the model is fine-tuned first.
        target: Of "forgetting": the recipe of the task that is asked.
        strengths: Of "forgetting": those that are tried besides the vector's own.
    """

    setting: Setting
    variant: str
    recipe: Recipe
    tuning: FineTuning | None = None
    target: Recipe | None = None
    strengths: tuple[float, ...] = ()


def cells(study: Study) -> list[StudyCell]:
    """Return the cells, those of one model together so that it is loaded once.

    Of each model the main trainings come first: the other settings are laid beside them. A model
    that only a setting names has those main trainings that the setting's cells lie beside.
    """
    found: list[StudyCell] = []
    ours = {model["model"]: model for model in study.models}
    named = {m["model"]: m for own in study.settings.values() for m in own.get("models", ())}
    # A model of the study keeps the fields that it has there, whoever else names it.
    for name, model in {**ours, **named, **ours}.items():
        beside = [
            cell
            for setting in SETTINGS[1:]
            if name in _models_of(study, setting)
            for cell in _of(study, setting, model)
        ]
        wanted = {(cell.recipe.task, cell.recipe.seed) for cell in beside}
        found += [
            cell
            for cell in _of(study, "main", model)
            if name in ours or (cell.recipe.task, cell.recipe.seed) in wanted
        ] + beside
    return found


def _models_of(study: Study, setting: Setting) -> set[str]:
    """Return the names of the models that a setting is for; none if it is not asked for."""
    if setting not in study.settings:
        return set()
    return {model["model"] for model in study.settings[setting].get("models", study.models)}


def _of(study: Study, setting: Setting, model: Mapping[str, Any]) -> list[StudyCell]:
    """Return one model's cells of one setting."""
    own = study.settings[setting]
    return [
        cell
        for task in study.tasks
        if task["task"] in own.get("tasks", (task["task"],))
        for seed in own.get("seeds", study.seeds)
        for cell in _expanded(
            setting,
            own,
            Recipe.read({**study.recipe, **model, **task, **own.get("recipe", {}), "seed": seed}),
        )
    ]


def _expanded(setting: Setting, own: Mapping[str, Any], recipe: Recipe) -> list[StudyCell]:
    if setting == "icl":
        return [StudyCell("icl", "", recipe.but(shots=own.get("shots", _SHOTS)))]
    if setting == "sft":
        given = {name: own[name] for name in TUNING_FIELDS if name in own}
        return [StudyCell("sft", "", recipe, FineTuning(**given))]
    if setting == "sites":
        sites = own.get("sites", ("attention", "mlp", "mlp_norm"))
        return [StudyCell("sites", site, recipe.but(site=site)) for site in sites]
    if setting == "samples":
        sizes = own.get("train_items", ())
        return [StudyCell("samples", str(size), recipe.but(train_items=size)) for size in sizes]
    if setting == "forgetting":
        strengths = tuple(map(float, own.get("strengths", _FORGETTING_STRENGTHS)))
        common = {
            name: getattr(recipe, name) for name in ("model", "protocol", "seed", "max_items")
        }
        return [
            StudyCell(
                "forgetting",
                target["task"],
                recipe,
                target=Recipe.read(common | target),
                strengths=strengths,
            )
            for target in own["targets"]
        ]
    return [StudyCell("main", "", recipe)]
