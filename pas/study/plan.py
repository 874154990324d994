"""A study: models x tasks x seeds in several settings, and its cells.

docs/method.md, "Studies".
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pas.finetune.settings import FineTuning
from pas.options import read_dataclass
from pas.recipe import Recipe
from pas.study.results import SETTINGS, Setting

_FORGETTING_STRENGTHS = (0.5, 0.75, 1.0, 2.0, 3.0, 4.0, 5.0)  # docs/method.md, "Grids"
_SHOTS = 10
TUNING_FIELDS = {field.name for field in fields(FineTuning)}


@dataclass(frozen=True)
class Study:
    """The contents of a study file.

    Attributes:
        name: Name of the study: lower-case letters, digits, '.', '_', '-'.
        models: For each model its fields of `Recipe`, including `model`.
        tasks: For each task its fields of `Recipe`, including `task`.
        seeds: Seeds of the trainings.
        recipe: Fields of `Recipe` for all tasks. The fields of a task override them.
        settings: The fields of each setting, by name. "main" is always included.
        planning: Passed on unchanged to `benchmarks.planning`.
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
    """One cell of a study: it becomes one row of the results.

    Attributes:
        setting: See `pas.study.results.StudyResult`.
        variant: See `pas.study.results.StudyResult`.
        recipe: The training; for "forgetting" the training of the vector.
        tuning: For "sft": the settings of the fine-tuning.
        target: For "forgetting": the recipe of the other task.
        strengths: For "forgetting": strengths to measure besides the vector's own.
    """

    setting: Setting
    variant: str
    recipe: Recipe
    tuning: FineTuning | None = None
    target: Recipe | None = None
    strengths: tuple[float, ...] = ()


def cells(study: Study) -> list[StudyCell]:
    """Return the cells of a study, grouped by model so that each model is loaded once.

    The main trainings of a model come first, because the other settings are compared with them. A
    model that only a setting names has the main trainings that the setting's cells need.

    Raises:
        UserError: If a recipe is not valid.
    """
    result: list[StudyCell] = []
    ours = {model["model"]: model for model in study.models}
    named = {m["model"]: m for fields in study.settings.values() for m in fields.get("models", ())}
    # The fields of a model in the study override those in a setting.
    for name, model in {**ours, **named, **ours}.items():
        others = [
            cell
            for setting in SETTINGS[1:]
            if name in _models_of(study, setting)
            for cell in _of(study, setting, model)
        ]
        needed = {(cell.recipe.task, cell.recipe.seed) for cell in others}
        result += [
            cell
            for cell in _of(study, "main", model)
            if name in ours or (cell.recipe.task, cell.recipe.seed) in needed
        ] + others
    return result


def _models_of(study: Study, setting: Setting) -> set[str]:
    """Return the names of a setting's models; empty if the study does not have the setting."""
    if setting not in study.settings:
        return set()
    return {model["model"] for model in study.settings[setting].get("models", study.models)}


def _of(study: Study, setting: Setting, model: Mapping[str, Any]) -> list[StudyCell]:
    """Return one model's cells of one setting."""
    options, result = study.settings[setting], list[StudyCell]()
    for task in study.tasks:
        if task["task"] in options.get("tasks", (task["task"],)):
            # Read once for all seeds: a study may have ten thousand cells.
            recipe = Recipe.read({**study.recipe, **model, **task, **options.get("recipe", {})})
            expanded = _expanded(setting, options, recipe)
            result += [
                _seeded(cell, seed)
                for seed in options.get("seeds", study.seeds)
                for cell in expanded
            ]
    return result


def _seeded(cell: StudyCell, seed: int) -> StudyCell:
    target = None if cell.target is None else cell.target.seeded(seed)
    return replace(cell, recipe=cell.recipe.seeded(seed), target=target)


def _expanded(setting: Setting, own: Mapping[str, Any], recipe: Recipe) -> list[StudyCell]:
    if setting == "icl":
        return [StudyCell("icl", "", recipe.but(shots=own.get("shots", _SHOTS)))]
    if setting == "sft":
        given = {name: own[name] for name in TUNING_FIELDS if name in own}
        return [StudyCell("sft", "", recipe, read_dataclass(FineTuning, given))]
    if setting == "sites":
        sites = own.get("sites", ("attention", "mlp", "mlp_norm"))
        return [StudyCell("sites", site, recipe.but(site=site)) for site in sites]
    if setting == "samples":
        sizes = own.get("train_items", ())
        return [StudyCell("samples", str(size), recipe.but(train_items=size)) for size in sizes]
    if setting == "forgetting":
        strengths = tuple(map(float, own.get("strengths", _FORGETTING_STRENGTHS)))
        common = {name: getattr(recipe, name) for name in ("model", "protocol", "max_items")}
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
