"""Read and check a study's YAML file."""

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from pas.errors import UserError
from pas.options import flat, options_of
from pas.recipe import Recipe
from pas.study.plan import TUNING_FIELDS, Study, cells
from pas.study.results import SETTINGS, Setting
from pas.yaml_files import read_yaml

_NEEDED = {"name", "models", "tasks", "seeds"}
_KEYS = _NEEDED | {"recipe", "data_root", "settings", "planning"}
_RECIPE_FIELDS = {option.name for option in options_of(Recipe)} - {"model", "seed"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LISTS = {"tasks", "sites", "train_items", "targets", "strengths"}
_MAX_SEEDS = 10_000
_COMMON = {"models", "tasks", "seeds", "recipe"}
_OWN: dict[Setting, set[str]] = {
    "main": set(),
    "icl": {"shots"},
    "sft": TUNING_FIELDS,
    "sites": {"sites"},
    "samples": {"train_items"},
    "forgetting": {"targets", "strengths"},
}


def read_study(file: Path, data_root: Path | None = None) -> Study:
    """Read a study's YAML file.

    Args:
        file: A file with the keys name, models, tasks, seeds (a number or a list) and, optionally,
            recipe, settings, planning, and data_root, which is the folder of relative `data` of
            tasks (by default the file's folder).
        data_root: Overrides the file's `data_root`.

    Raises:
        UserError: If the file cannot be read or a key or value is not valid. The message names the
            file, the key and the remedy.
    """
    content = read_yaml(file, f"study {file}")
    if not isinstance(content, dict):
        raise UserError(f"study {file}: give the keys name, models, tasks and seeds")
    unknown, lacking = set(content) - _KEYS, _NEEDED - set(content)
    if unknown or lacking:
        raise UserError(
            f"study {file}: "
            + "; ".join(
                [f"there is no key {key!r}" for key in sorted(map(str, unknown))]
                + [f"the key {key!r} is missing" for key in sorted(lacking)]
            )
            + f". The keys are {', '.join(sorted(_KEYS))}."
        )
    if data_root is not None and not data_root.is_dir():
        raise UserError(f"--data-root {data_root}: there is no such folder")
    own_root = content.get("data_root", ".")
    if not isinstance(own_root, str):
        raise UserError(f"study {file}: data_root: give a folder, not {own_root!r}")
    root = data_root or file.parent / own_root
    if not isinstance(content.get("planning") or {}, Mapping):
        raise UserError(f"study {file}: planning: give fields, see docs/studies.md")
    tasks = content["tasks"]
    if not isinstance(tasks, list) or not tasks:
        raise UserError(f"study {file}: tasks: give a list with at least one task")
    study = Study(
        name=_name(file, content["name"]),
        models=_models(file, "", content["models"]),
        tasks=tuple(_task(file, f"task {i}", task, root) for i, task in enumerate(tasks, 1)),
        seeds=_seeds(file, content["seeds"]),
        recipe=_checked(file, "recipe", content.get("recipe") or {}, _RECIPE_FIELDS),
        settings=_settings(file, content.get("settings") or {}, root),
        planning=dict(content.get("planning") or {}),
    )
    for kind, named in (("model", study.models), ("task", study.tasks)):
        names = [entry[kind] for entry in named]
        if len(set(names)) < len(names):
            raise UserError(f"study {file}: two {kind}s have the same name; name each once")
    for setting, own in study.settings.items():
        absent = set(own.get("tasks", ())) - {task["task"] for task in study.tasks}
        if absent:
            raise UserError(
                f"study {file}: settings: {setting}: {', '.join(sorted(absent))} is not a task of "
                "the study"
            )
    cells(study)  # checks the values of each recipe
    return study


def _settings(file: Path, given: Any, root: Path) -> dict[str, dict[str, Any]]:
    if isinstance(given, list):
        given = dict.fromkeys(map(str, given))
    if not isinstance(given, Mapping) or set(given) - set(SETTINGS):
        raise UserError(
            f"study {file}: settings: name some of {', '.join(SETTINGS)}, such as `icl: {{}}`"
        )
    settings: dict[str, dict[str, Any]] = {"main": {}}
    for setting, own in given.items():
        place = f"settings: {setting}"
        # The main trainings are those of the study's models.
        known = _COMMON | _OWN[setting] if setting != "main" else _COMMON - {"models"}
        values = _checked(file, place, own or {}, known)
        for name in _LISTS & values.keys():
            if not isinstance(values[name], tuple):
                raise UserError(f"study {file}: {place}: {name}: give a list")
        if not all(type(x) in (int, float) and isfinite(x) for x in values.get("strengths", ())):
            raise UserError(f"study {file}: {place}: strengths: give finite numbers")
        if "recipe" in values:
            values["recipe"] = _checked(file, f"{place}: recipe", values["recipe"], _RECIPE_FIELDS)
        if "seeds" in values:
            values["seeds"] = _seeds(file, own["seeds"])
        if "models" in values:
            values["models"] = _models(file, f"{place}: ", own["models"])
        if setting == "samples" and not values.get("train_items"):
            raise UserError(f"study {file}: {place}: give train_items, such as [12, 75, 300]")
        if setting == "forgetting":
            targets = values.get("targets")
            if not targets:
                raise UserError(
                    f"study {file}: {place}: give targets, a list of tasks such as "
                    "[{task: mmlu, max_items: 1000}]"
                )
            values["targets"] = tuple(
                _task(file, f"{place}: target {i}", target, root)
                for i, target in enumerate(targets, 1)
            )
        settings[setting] = values
    return settings


def _name(file: Path, name: Any) -> str:
    text = str(name)
    if not _NAME.fullmatch(text):
        raise UserError(
            f"study {file}: name: give lower-case letters, digits, '.', '_' or '-', not {text!r}"
        )
    return text


def _models(file: Path, place: str, models: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(models, list) or not models:
        raise UserError(
            f"study {file}: {place}models: give a list of names, or of fields with `model`"
        )
    return tuple(_named(file, f"{place}model {i}", "model", m) for i, m in enumerate(models, 1))


def _seeds(file: Path, seeds: Any) -> tuple[int, ...]:
    if type(seeds) is int and 0 < seeds <= _MAX_SEEDS:
        return tuple(range(seeds))
    if isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds):
        if len({*seeds}) < len(seeds):
            raise UserError(f"study {file}: seeds: one is there twice; name each once")
        return tuple(seeds)
    raise UserError(
        f"study {file}: seeds: give how many, from 1 to {_MAX_SEEDS:,}, or a list of whole "
        f"numbers, not {seeds!r}"
    )


def _task(file: Path, place: str, task: Any, root: Path) -> dict[str, Any]:
    values = _named(file, place, "task", task)
    for name in ("data", "data_labels"):
        given = values.get(name)
        if isinstance(given, str) and given.strip() and _exists(root / given):
            values[name] = str(root / given)
    return values


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long
        return False


def _named(file: Path, place: str, kind: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {kind: entry}
    if not isinstance(entry, Mapping) or kind not in entry:
        raise UserError(f"study {file}: {place}: give a name, or fields that include `{kind}`")
    return _checked(file, place, entry, _RECIPE_FIELDS | {kind})


def _checked(file: Path, place: str, values: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise UserError(f"study {file}: {place}: give fields, such as `max_items: 200`")
    values = flat(Recipe, values)
    unknown = sorted(set(map(str, values)) - known)
    if unknown:
        raise UserError(
            f"study {file}: {place}: there is no field {', '.join(unknown)}; "
            f"the fields are {', '.join(sorted(known))}"
        )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
