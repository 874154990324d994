"""Study files."""

import json

import yaml

from tests.helpers.bad_inputs.case import Case, Place

GOOD = {
    "name": "s",
    "models": ["MODEL"],
    "tasks": [{"task": "toy", "data": "toy.jsonl"}],
    "seeds": 1,
}


def study(content: str | bytes, words: tuple[str, ...], *options: str) -> Case:
    return Case(lambda p: ["study", p.write("s.yaml", content), *options], words)


def but(words: tuple[str, ...], **fields: object) -> Case:
    """A good study with other fields; Ellipsis removes one."""

    def command(p: Place) -> list[object]:
        p.toy()
        held = {k: v for k, v in (GOOD | fields).items() if v is not ...}
        text = yaml.safe_dump(held, allow_unicode=False).replace("MODEL", str(p.model))
        return ["study", p.write("s.yaml", text)]

    return Case(command, words)


CASES: dict[str, Case] = {
    "no file": Case(lambda p: ["study", p.folder / "none.yaml"], ("none.yaml",)),
    "a folder": Case(lambda p: ["study", p.folder], ("study",)),
    "an empty file": study("", ("s.yaml", "name, models, tasks")),
    "no YAML": study("a: [b", ("s.yaml", "YAML")),
    "no text": study(b"\xff\xfe\x00", ("s.yaml",)),
    "a list": study("[1]", ("s.yaml", "name")),
    "a tab": study("name:\t- a\n\tb: c", ("s.yaml",)),
    "brackets without end": study("[" * 9000, ("s.yaml",)),
    "code": study("name: !!python/object/apply:os.system ['true']", ("s.yaml",)),
    "a date that is none": study("name: 2024-13-45", ("s.yaml",)),
    "nothing but a name": study("name: s", ("'models' is missing", "'seeds'")),
    "an unknown key": but(("'model'",), model="x"),
    "a key that is a number": study("1: 2", ("'1'", "'name'")),
    "a key that is null": study("null: 2", ("'None'", "'name'")),
    "a name that is a path": but(("name", "../x"), name="../x"),
    "a name that is a list": but(("name",), name=["a"]),
    "no models": but(("models",), models=[]),
    "models that are a text": but(("models",), models="demo"),
    "a model that is a number": but(("model 1",), models=[7]),
    "a model that is null": but(("model 1",), models=[None]),
    "a model without a name": but(("model 1",), models=[{"dtype": "auto"}]),
    "a model whose name is a list": but(("--model",), models=[{"model": ["a"]}]),
    "a model with an unknown field": but(
        ("model 1", "dtipe"), models=[{"model": "demo", "dtipe": "x"}]
    ),
    "a model with a field that is a number": but(
        ("model 1", "7"), models=[{"model": "demo", 7: "x"}]
    ),
    "a model twice": but(("same name",), models=["demo", "demo"]),
    "no tasks": but(("tasks",), tasks=[]),
    "tasks that are a mapping": but(("tasks",), tasks={"task": "toy"}),
    "a task that is a list": but(("task 1",), tasks=[["toy"]]),
    "a task whose name is a number": but(("--task",), tasks=[{"task": 7, "data": "toy.jsonl"}]),
    "a task that is a path": but(("--task",), tasks=[{"task": "../x", "data": "toy.jsonl"}]),
    "a task without data": but(("--data",), tasks=["toy"]),
    "a task whose data have no name": but(("--data",), tasks=[{"task": "toy", "data": ""}]),
    "a task whose data are a list": but(("--data",), tasks=[{"task": "toy", "data": ["a"]}]),
    "a task whose data are half a character": study(
        '{name: s, models: [demo], seeds: 1, tasks: [{task: toy, data: "a\\ud800b"}]}',
        ("s.yaml", "half a character"),
    ),
    "a task twice": but(("same name",), tasks=[{"task": "toy", "data": "toy.jsonl"}] * 2),
    "a task with a strength in words": but(
        ("--strengths",), tasks=[{"task": "toy", "data": "toy.jsonl", "strengths": ["big"]}]
    ),
    "a task with an option that is an object": but(
        ("--max-items",), tasks=[{"task": "toy", "data": "toy.jsonl", "max_items": {"a": 1}}]
    ),
    "seeds in words": but(("seeds",), seeds="three"),
    "no seeds": but(("seeds",), seeds=0),
    "seeds that are none": but(("seeds",), seeds=[]),
    "seeds that are halves": but(("seeds",), seeds=[0.5]),
    "seeds that are true": but(("seeds",), seeds=[True]),
    "seeds without end": but(("seeds",), seeds=10**12),
    "a seed twice": but(("seeds",), seeds=[1, 1]),
    "a recipe that is a list": but(("recipe",), recipe=[1]),
    "a recipe with an unknown field": but(("recipe", "layer"), recipe={"layer": 1}),
    "a recipe with a model": but(("recipe", "model"), recipe={"model": "demo"}),
    "a recipe with a layer that is half": but(("--layers",), recipe={"layers": [0.5]}),
    "a setting that is unknown": but(("settings", "sft"), settings={"rlhf": {}}),
    "settings that are a number": but(("settings",), settings=7),
    "settings that are lists of lists": but(("settings",), settings=[["icl"]]),
    "a setting that is a number": but(("settings: icl",), settings={"icl": 7}),
    "a setting with an unknown field": but(
        ("settings: icl", "shot"), settings={"icl": {"shot": 3}}
    ),
    "a setting of an unknown task": but(
        ("settings: icl", "other"), settings={"icl": {"tasks": ["other"]}}
    ),
    "a setting whose tasks are a number": but(("settings: icl",), settings={"icl": {"tasks": 7}}),
    "a setting whose tasks are a text": but(("settings: icl",), settings={"icl": {"tasks": "toy"}}),
    "a setting whose seeds are a text": but(("seeds",), settings={"icl": {"seeds": "a"}}),
    "shots in words": but(("--shots",), settings={"icl": {"shots": "many"}}),
    "sites that are unknown": but(("--site",), settings={"sites": {"sites": ["head"]}}),
    "sites that are a number": but(("sites",), settings={"sites": {"sites": 7}}),
    "samples without sizes": but(("train_items",), settings={"samples": {}}),
    "samples that are a number": but(("train_items",), settings={"samples": {"train_items": 7}}),
    "samples of 0": but(("--train-items",), settings={"samples": {"train_items": [0]}}),
    "forgetting without targets": but(("targets",), settings={"forgetting": {}}),
    "forgetting with targets that are a number": but(
        ("targets",), settings={"forgetting": {"targets": 7}}
    ),
    "forgetting with strengths in words": but(
        ("strengths",),
        settings={
            "forgetting": {"targets": [{"task": "toy", "data": "toy.jsonl"}], "strengths": ["big"]}
        },
    ),
    "forgetting with strengths that are no numbers": but(
        ("strengths",),
        settings={
            "forgetting": {
                "targets": [{"task": "toy", "data": "toy.jsonl"}],
                "strengths": [float("nan")],
            }
        },
    ),
    "epochs of 0": but(("epochs",), settings={"sft": {"epochs": 0}}),
    "epochs in words": but(("epochs",), settings={"sft": {"epochs": "many"}}),
    "planning that is a number": but(("planning",), planning=7),
    "a root that is a list": but(("data_root",), data_root=["a"]),
    "a root on the command line that is not there": Case(
        lambda p: ["study", p.write("s.yaml", json.dumps(GOOD)), "--data-root", p.folder / "none"],
        ("--data-root",),
    ),
    "workers below 0": Case(
        lambda p: ["study", p.write("s.yaml", json.dumps(GOOD)), "--workers=-1"], ("--workers",)
    ),
}
