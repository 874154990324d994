"""The recipe: its shapes and shorthands, its mistakes in words, its table, what it comes to."""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import ValidationError

from pas.data.chat import PLAIN
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.intake.mapping import DataMapping
from pas.intake.sources import Source
from pas.models.spec import ModelSpec
from pas.options import as_table, options_of
from pas.recipe import Recipe, resolve
from tests.helpers.chat_templates import LLAMA3
from tests.helpers.places import ROOT

PROTOCOLS = ("sound", "paper")

FLAT = {
    "task": "toy", "data": "a.csv", "data_revision": "r", "choices_col": ["good", "bad"],
    "model": "org/name", "dtype": "float16", "layers": "12,8", "strengths": "0.5,4",
    "max_items": None,
}  # fmt: skip
NESTED = {
    "task": "toy",
    "data": {"name": "a.csv", "revision": "r"},
    "mapping": {"choices": ["good", "bad"]},
    "model": {"id": "org/name", "dtype": "float16"},
    "layers": [8, 12],
    "strengths": [0.5, 4],
    "max_items": None,
}


def test_flat_and_nested_fields_and_text_are_one_recipe() -> None:
    recipe = Recipe.read(NESTED)
    assert recipe.data == Source("a.csv", "r") and recipe.model == ModelSpec(
        "org/name", None, "float16"
    )
    assert recipe.mapping == DataMapping(choices=("good", "bad"))
    assert (recipe.layers, recipe.strengths, recipe.max_items) == ((8, 12), (0.5, 4.0), None)
    text = {"choices_col": "good,bad", "max_items": "none", "seed": "0", "length_norm": "true"}
    mixed = {"model": ModelSpec("org/name"), "dtype": "float16"}
    for other in (
        FLAT,
        FLAT | text,
        FLAT | mixed,
        NESTED | {"model": "org/name", "dtype": "float16"},
    ):
        assert Recipe.read(other) == recipe
        assert hash(Recipe.read(other)) == hash(recipe)


@pytest.mark.parametrize("fields", [FLAT, {"task": "demo"}, {"task": "demo", "max_kl": "none"}])
def test_what_is_stored_is_read_again(fields: dict[str, Any]) -> None:
    recipe = Recipe.read(fields)
    assert Recipe.model_validate(json.loads(json.dumps(recipe.as_dict()))) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_recipe_stored_before_it_was_nested_is_read() -> None:
    """As `lineage.json` holds it. What is not said about the data is no longer stored."""
    stored = {
        "task": "bbq_age", "data": "Age.jsonl", "data_revision": None, "data_config": None,
        "data_split": None, "question_col": "question", "choices_col": ["choices"],
        "label_col": "label", "group_col": None, "id_col": None, "model": "demo",
        "revision": None, "dtype": "auto", "device": "cpu", "quantization": None,
        "trust_remote_code": False, "protocol": "paper", "scoring": "auto", "length_norm": True,
        "methods": ["caa", "random"], "layers": "10,12", "strengths": "0.25,2,4", "site": "mlp",
        "seed": 3, "order_seed": 1, "max_items": 200, "train_items": None, "shots": 2,
        "select": "one-se",
    }  # fmt: skip
    again = json.loads(json.dumps(Recipe.model_validate(stored).as_dict()))
    unsaid = ("data_revision", "data_config", "data_split", "group_col", "id_col")
    new = {"max_kl": 0.1, "prompt": "auto", "system": None, "close_thinking": False}
    new |= {"instruction": None, "asked_examples": 3}
    assert again == {k: v for k, v in stored.items() if k not in unsaid} | new


def test_changes_keep_the_rest_and_are_checked() -> None:
    recipe = Recipe.read(FLAT)
    other = recipe.but(model="other", seed=2)
    assert asdict(other.model) == asdict(recipe.model) | {"id": "other"}
    assert other.but(model="org/name", seed=0) == recipe != other
    with pytest.raises(UserError, match="--train-items 0: give 1 or more"):
        recipe.but(train_items=0)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "../x"}, "--task ../x: give a lower-case name"),
        ({"task": "own", "data": None}, "--task own is not built in .*bbq_age.*; give its --data"),
        ({"layers": "1,x"}, "--layers 1,x: give auto, all or numbers such as 8,11,13"),
        ({"layers": [1.5]}, "--layers 1.5: give auto, all or numbers"),
        ({"layers": ""}, "--layers : give auto, all or numbers"),
        ({"strengths": "nan"}, "--strengths nan: a number must be finite"),
        ({"prompt": "chatml"}, "--prompt chatml: give auto, plain or chat$"),
        ({"protocol": "fast"}, "--protocol fast: give sound or paper$"),
        ({"site": "head"}, "--site head: give residual, attention, mlp or mlp_norm$"),
        ({"dtype": "int3"}, "--dtype int3: give auto, float32, float16 or bfloat16$"),
        ({"model": {"id": "x", "dtype": "int3"}}, "--dtype int3: give auto"),
        ({"methods": ["random"]}, "--methods random: give one or more of pasf, .*random for the"),
        ({"max_items": 4}, "--max-items 4: give 5 or more, or none$"),
        ({"max_kl": 0}, "--max-kl 0: give a number above 0, or none$"),
        ({"max_kl": "inf"}, "--max-kl inf: give a finite number, or none$"),
        ({"seed": "x"}, "--seed x: give a whole number$"),
        ({"shots": -1}, "--shots -1: give 0 or more$"),
        ({"instruction": " "}, "--instruction  : say what the model should do$"),
        ({"instruction": "\ud83d"}, "--instruction .*half a character"),
        ({"asked_examples": -1}, "--asked-examples -1: give 0 or more$"),
        ({"seed": "x", "shots": -1}, "--seed x: .*; --shots -1: "),
        ({"strenghts": "1"}, "there is no field strenghts"),
        ({"model": {"id": "x", "dtyp": "auto"}}, "there is no field model.dtyp"),
    ],
)
def test_a_mistake_names_the_option_and_what_to_give(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe.read({"task": "toy", "data": "a.csv"} | changes)


def test_a_task_is_needed() -> None:
    with pytest.raises(UserError, match="^--task: it is missing$"):
        Recipe.read({"data": "a.csv"})


def test_every_option_is_described_and_named_once() -> None:
    options = options_of(Recipe)
    assert all(option.description.endswith(".") for option in options)
    assert len({option.name for option in options}) == len(options) == 57


def test_the_documentation_has_the_table() -> None:
    assert as_table(Recipe) in (ROOT / "docs" / "recipe.md").read_text(), (
        "paste what this prints: python -c "
        "'from pas.options import *; from pas.recipe import *; print(as_table(Recipe))'"
    )


@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_a_recipe_resolved_for_a_model(tiny: Any, protocol: Any) -> None:
    info = tiny("llama").info
    recipe = Recipe(
        task="toy", data="a.csv", layers=(3, 0), strengths=(4.0, 1.0), protocol=protocol
    )
    setup = resolve(recipe, info)
    assert setup.write_layers == (0, 3) and setup.fingerprint == info.fingerprint
    assert setup.read_layers == ((0, 3) if protocol == "sound" else (-1, 2))
    assert setup.strengths == ((0.0, 1.0, 4.0) if protocol == "sound" else (1.0, 4.0))
    variants = "both" if protocol == "sound" else "bare"
    assert setup.rule == ScoringRule("letter", variants, prompt=PLAIN)
    with pytest.raises(UserError, match="--layers 99: layer 99 does not exist"):
        resolve(recipe.but(layers="99"), info)


def test_auto_is_chat_where_there_is_a_template_except_under_the_paper_protocol(tiny: Any) -> None:
    without, with_one = tiny("llama").info, tiny("llama", LLAMA3.text).info
    sound, paper = (Recipe(task="toy", data="a.csv", layers="1", protocol=p) for p in PROTOCOLS)
    assert resolve(sound, without).rule.prompt == PLAIN
    assert resolve(sound, with_one).rule.prompt.kind == "chat"
    assert resolve(paper, with_one).rule.prompt == PLAIN
    assert resolve(paper.but(prompt="chat"), with_one).rule.prompt.kind == "chat"
    assert resolve(sound.but(prompt="plain"), with_one).rule.name == "letter-both"
    names = {
        resolve(sound.but(**changes), with_one).rule.name
        for changes in ({}, {"system": "a"}, {"system": ""}, {"scoring": "choice"})
    }
    assert len(names) == 4 and all("-chat-" in name for name in names)
    for recipe, info, message in (
        (paper.but(system="x"), with_one, "^--system: this needs a chat prompt, and the protocol"),
        (sound.but(system="x"), without, "^--system: .*the model has no chat template; leave it"),
        (
            sound.but(prompt="plain", close_thinking=True),
            with_one,
            "^--close-thinking: .* is plain",
        ),
        (sound.but(prompt="chat"), without, "^--prompt chat: .* no chat template; use --prompt"),
    ):
        with pytest.raises(UserError, match=message):
            resolve(recipe, info)


def test_a_recipe_and_the_help_of_its_options_need_no_torch() -> None:
    lacking = "import sys; from {}; sys.exit(str({{'torch', *{}}} & {{*sys.modules}} or ''))"
    for line in (
        lacking.format("pas.recipe import Recipe", ["transformers", "datasets"]),
        lacking.format("flows.cli.commands import app", ["pydantic", "numpy", "prefect"]),
    ):
        done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True)
        assert done.stderr.decode().strip() == "", line
