"""Fine-tuning: the step, the flow, the command."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from flows.cli import main
from flows.cli.commands import app
from flows.finetune import finetune as flow
from flows.train import train
from pas.finetune.settings import FineTuning
from pas.finetune.training import finetune, is_fine_tuned
from pas.options import options_of, read_dataclass
from pas.recipe import Recipe
from storage.lake.stages import read_split
from storage.settings import settings
from tasks import resources
from tasks.finetune import sft_folder
from tasks.load import load
from tests.helpers.recipes import toy
from tests.helpers.weights import same, weights

# All items in every step, so that the losses are those of the whole set.
QUICK = FineTuning(rank=4, alpha=8, dropout=0.0, learning_rate=1e-2, epochs=8, batch_size=12)


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path) -> Recipe:
    return toy(tmp_path, tiny_folder, device="cpu", scoring="choice")


@pytest.mark.server
def test_the_flow_trains_on_training_items_once_and_a_vector_is_made_on_top(
    home, recipe, tiny_folder, tmp_path
):
    held = resources.model(recipe.model)
    before = {name: value.clone() for name, value in held.model.state_dict().items()}
    tuning = replace(QUICK, max_steps=3)
    folder = flow(recipe, tuning)
    assert held is resources.model(recipe.model) and same(before, held.model.state_dict())
    assert same(before, weights(tiny_folder)) and not same(before, weights(folder))

    split_at = load(recipe)
    assert folder == sft_folder(recipe, split_at, tuning) and folder.parent == home / "models"
    parts = read_split(resources.lake(), split_at)
    rule = resources.resolved(recipe).rule
    alone = finetune(
        recipe.model, settings().cache_dir, parts.train, rule, tuning, tmp_path / "alone", 0
    )
    assert same(weights(folder), weights(alone.folder))

    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert flow(recipe, tuning) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    others = [
        sft_folder(recipe, split_at, replace(tuning, rank=2)),
        sft_folder(recipe.but(seed=1), split_at, tuning),
        sft_folder(recipe, "stages/splits/another.parquet", tuning),
        sft_folder(recipe.but(scoring="letter"), split_at, tuning),
    ]
    assert len({folder, *others}) == 5

    outcome = train(recipe.but(model=str(folder))).outcome
    assert outcome.model_name == f"pas-{folder.name}-toy" and outcome.prompts_extracted > 0
    assert load(recipe.but(model=str(folder))) == split_at


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pas", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.server
def test_the_command_prints_the_folder_and_what_to_do_with_it(home, recipe, monkeypatch, capfd):
    options = ("finetune", "--task", "toy", "--data", recipe.data.name, "--model", recipe.model.id,
               "--group-col", "topic", "--device", "cpu", "--scoring", "choice", "--epochs", "1",
               "--train-items", "20", "--rank", "2")  # fmt: skip
    assert run(monkeypatch, *options, "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert (
        is_fine_tuned(Path(told["folder"])) and told["n_items"] == 20 and len(told["losses"]) == 2
    )
    assert run(monkeypatch, *options) == 0
    shown = capfd.readouterr()
    assert "training items" in shown.out and "20" in shown.out
    hint = f"pas train --task toy --data {recipe.data.name} --group-col topic --model"
    hint += f" {told['folder']} --device cpu --scoring choice --train-items 20"
    assert f"next: {hint}\n" in shown.err


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [("rank", "0", "whole number of 1 or more"), ("epochs", "2.5", "whole number"),
     ("alpha", "wide", "a number"), ("max-steps", "some", "whole number, or none"),
     ("dropout", "1", "below 1"), ("scoring", "words", "auto, letter or choice")],
)  # fmt: skip
def test_an_option_that_cannot_work_is_named_with_its_remedy(
    home, recipe, option, value, remedy, monkeypatch, capfd
):
    given = ("finetune", "--task", "toy", "--data", recipe.data.name, f"--{option}", value)
    assert run(monkeypatch, *given) == 2
    told = capfd.readouterr().err
    assert f"error: --{option} {value}" in told and remedy in told


def test_the_commands_defaults_are_those_of_the_settings():
    command = typer.main.get_command(app).commands["finetune"]
    arguments = ["--task", "demo"]
    params = command.make_context("finetune", list(arguments)).params
    given = {name: value for name, value in params.items() if value is not None}
    names = [option.name for option in options_of(FineTuning)]
    own = {name: given[name] for name in names if name in given}
    assert read_dataclass(FineTuning, own) == FineTuning()
    offered = {option.name for option in options_of(Recipe)} & {*given}
    read = Recipe.read({name: given[name] for name in offered})
    assert read == Recipe(task="demo") and {"data", "model", "seed", "train_items"} <= {*params}
    assert "layers" not in params, "nothing that only steering has"


@pytest.mark.parametrize("absent", ["peft", "trl"])
def test_without_the_extra_the_remedy_is_named(home, recipe, absent, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, absent, None)
    assert run(monkeypatch, "finetune", "--task", "toy", "--data", recipe.data.name) == 2
    assert "pip install 'painless-steering[sft]'" in capfd.readouterr().err
    assert not home.exists()
