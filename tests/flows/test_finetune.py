"""Fine-tuning: what is taught, what changes and what must not, the step, the flow, the command."""

import inspect
import json
import random
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pas.finetune.lora
from flows.cli import main
from flows.cli.finetune import finetune as command
from flows.finetune import finetune as flow
from flows.train import train
from pas.data.examples import Example
from pas.data.prompts import full_prompt
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.finetune.lora import passes_of
from pas.finetune.settings import FineTuning
from pas.finetune.training import IGNORED, finetune, is_fine_tuned, read_fine_tuned, target
from pas.models.loading import LoadedModel, load_model, load_model_info
from pas.models.spec import ModelSpec
from pas.recipe import Recipe
from storage.lake.stages import read_split
from storage.settings import settings
from tasks import resources
from tasks.finetune import sft_folder
from tasks.load import load
from tests.helpers.data_files import write_toy
from tests.helpers.tiny_models import save_tiny, tiny_tokenizer, toy_questions

BOTH, BARE, CHOICE = ScoringRule(), ScoringRule(variants="bare"), ScoringRule("choice")
# All items in every step, so that the losses are those of the whole set.
QUICK = FineTuning(rank=4, alpha=8, dropout=0.0, learning_rate=1e-2, epochs=8, batch_size=12)


def items(n: int = 12) -> list[Example]:
    return [
        Example(q["id"], q["question"], q["choices"], q["label"], q["id"], fact=q["fact"])
        for q in toy_questions(n)
    ]


def right(example: Example, rule: ScoringRule) -> str:
    return "ABCDE"[example.label] if rule.kind == "letter" else example.choices[example.label]


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


def tune(folder: Path, into: Path, tuning: FineTuning = QUICK, seed: int = 0, rule=CHOICE):
    spec = ModelSpec(str(folder), device="cpu")
    return finetune(spec, into.parent / "cache", items(), rule, tuning, into, seed)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(ModelSpec(str(folder), device="cpu"), folder.parent).model.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(first[k].equal(second[k]) for k in first)


@torch.no_grad()
def literal_loss(model: LoadedModel, rule: ScoringRule) -> float:
    """Mean negative log-probability of all answers' tokens, one sequence and token at a time."""
    losses = []
    for example in items():
        prompt = full_prompt(example, rule.kind)
        whole = ids(model.tokenizer, f"{prompt} {right(example, rule)}")
        logits = model.model(torch.tensor([whole])).logits[0].double()
        for at in range(len(ids(model.tokenizer, prompt)), len(whole)):
            losses.append(-torch.log_softmax(logits[at - 1], -1)[whole[at]].item())
    return float(np.mean(losses))


@pytest.fixture(scope="module")
def tuned(tiny_folder, tmp_path_factory):
    return tune(tiny_folder, tmp_path_factory.mktemp("tuned") / "model")


@pytest.mark.parametrize("rule", [BOTH, CHOICE], ids=lambda r: r.name)
def test_the_answer_alone_is_taught_behind_its_prompt(tiny, rule):
    tokens = tiny("llama").tokens
    for example in items():
        prompt = ids(tokens.tokenizer, full_prompt(example, rule.kind))
        whole = ids(tokens.tokenizer, f"{full_prompt(example, rule.kind)} {right(example, rule)}")
        found = target(tokens, example, rule)
        assert list(found.token_ids) == whole and whole[: len(prompt)] == prompt
        assert list(found.labels) == [IGNORED] * len(prompt) + whole[len(prompt) :]


def test_a_bare_letter_is_taught_where_the_bare_one_is_read(tiny):
    tokens = tiny("llama").tokens
    for example in items():
        found = target(tokens, example, BARE)
        letter = tokens.tokenizer.convert_tokens_to_ids(right(example, BARE))
        assert list(found.token_ids) == [*ids(tokens.tokenizer, full_prompt(example, "letter")),
                                         letter]  # fmt: skip
        assert found.labels[-1] == letter and set(found.labels[:-1]) == {IGNORED}


def test_where_tokens_cross_the_border_the_answer_begins_before_it(tiny):
    merging = tiny_tokenizer(split_words=False)
    tokens = replace(tiny("llama").tokens, tokenizer=merging)
    # Ends as the texts do that the merges were learnt from, so that the space joins the full stop.
    example = Example("x", "It eats old bread,", ("and it sleeps by the mill", "x"), 0, "x")
    prompt, whole = ids(merging, example.question), ids(merging, f"{example.question} and it sleeps"
                                                                 " by the mill")  # fmt: skip
    agreeing = next(i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b)
    found = target(tokens, example, CHOICE)
    assert agreeing < len(prompt) and list(found.token_ids) == whole
    assert list(found.labels) == [IGNORED] * agreeing + whole[agreeing:]


def test_a_prompt_that_fills_the_window_has_no_room_for_its_letter(tiny):
    example, tokens = items()[0], tiny("llama").tokens
    length = len(ids(tokens.tokenizer, full_prompt(example, "letter")))
    assert target(replace(tokens, context_window=length + 1), example, BOTH)
    with pytest.raises(UserError, match="no room for its letter"):
        target(replace(tokens, context_window=length), example, BOTH)


@pytest.mark.parametrize("rule", [BOTH, CHOICE], ids=lambda r: r.name)
def test_the_loss_is_that_of_the_answers_and_falls(tiny_folder, tmp_path, rule):
    found = tune(tiny_folder, tmp_path / "model", rule=rule)
    spec = ModelSpec(str(tiny_folder), device="cpu")
    base, after = (
        load_model(s, tmp_path / "cache") for s in (spec, replace(spec, id=str(found.folder)))
    )
    assert found.losses[0] == pytest.approx(literal_loss(base, rule), rel=1e-5)
    assert len(found.losses) == 8 and found.n_items == 12
    assert literal_loss(after, rule) < 0.7 * found.losses[0]
    # The last logged loss was measured before the last step.
    assert literal_loss(after, rule) < found.losses[-1] < found.losses[0]


def test_the_result_differs_from_the_base_by_low_rank_in_linear_layers_alone(tiny_folder, tuned):
    before, after = weights(tiny_folder), weights(tuned.folder)
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {n for n in before if ".layers." in n and "norm" not in n}
    for name in changed:
        values = torch.linalg.svdvals((after[name] - before[name]).double())
        assert (values > 1e-5 * values[0]).sum() == QUICK.rank, name
    configs = [json.loads((f / "config.json").read_text()) for f in (tiny_folder, tuned.folder)]
    assert configs[0] == configs[1]
    tokenizers = [
        load_model_info(ModelSpec(str(f)), tuned.folder.parent).tokenizer
        for f in (tiny_folder, tuned.folder)
    ]
    texts = [full_prompt(e, "letter") for e in items()]
    assert ids(tokenizers[0], texts) == ids(tokenizers[1], texts)


@pytest.mark.parametrize("arch", ["gpt2", "gemma2"])
def test_other_architectures_learn_too(arch, tmp_path):
    found = tune(save_tiny(arch, tmp_path / arch), tmp_path / "model")
    model = load_model(ModelSpec(str(found.folder), device="cpu"), tmp_path / "cache")
    assert literal_loss(model, CHOICE) < found.losses[-1] < found.losses[0]


def test_the_seed_determines_the_weights_and_nothing_else_is_seeded(tiny_folder, tuned, tmp_path):
    dropping = replace(QUICK, dropout=0.3, batch_size=5, max_steps=4)
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    folders = [
        tune(tiny_folder, tmp_path / name / "model", dropping, seed).folder
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    now = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    assert states == now
    first, again, other = map(weights, folders)
    assert same(first, again) and not same(first, other)
    assert len(read_fine_tuned(folders[0]).losses) == 4


def test_a_step_cut_into_passes_is_the_same_step(tiny_folder, tuned, tmp_path, monkeypatch):
    monkeypatch.setitem(pas.finetune.lora._PASS_TOKENS, "cpu", 70)
    longest = max(len(target(load_model_info(ModelSpec(str(tiny_folder)), tmp_path), e, CHOICE)[0])
                  for e in items())  # fmt: skip
    assert passes_of(QUICK.batch_size, longest, 70) > 1
    cut = tune(tiny_folder, tmp_path / "model")
    assert cut.losses == pytest.approx(tuned.losses, rel=1e-3)


@pytest.mark.parametrize(
    ("size", "longest", "passes"),
    [(16, 60, 1), (16, 128, 1), (16, 129, 2), (16, 600, 8), (16, 5000, 16), (7, 500, 7), (1, 9, 1)],
)
def test_passes_divide_a_step_evenly(size, longest, passes):
    assert passes_of(size, longest, 2048) == passes


def test_the_result_is_stored_as_the_base_is(tmp_path):
    base = save_tiny("llama", tmp_path / "base")
    model = load_model(ModelSpec(str(base), dtype="bfloat16", device="cpu"), tmp_path / "cache")
    model.model.save_pretrained(base)
    found = tune(base, tmp_path / "model", replace(QUICK, max_steps=3))
    assert json.loads((found.folder / "config.json").read_text())["dtype"] == "bfloat16"
    sizes = [(f / "model.safetensors").stat().st_size for f in (base, found.folder)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


class Pulled(KeyboardInterrupt):
    """The plug, in the middle of something."""


@pytest.mark.parametrize("moment", ["training", "saving"])
def test_an_interrupted_run_leaves_nothing(moment, tiny_folder, tmp_path, monkeypatch):
    where = {"training": (pas.finetune.lora._Watch, "on_log"), "saving": (json, "dumps")}[moment]

    def pull(*arguments, **options):
        if moment == "training" or "losses" in str(arguments):
            raise Pulled
        return kept(*arguments, **options)

    kept = getattr(*where)
    into = tmp_path / "models" / "model"
    with monkeypatch.context() as patched, pytest.raises(Pulled):
        patched.setattr(*where, pull)
        tune(tiny_folder, into, replace(QUICK, max_steps=2))
    assert not is_fine_tuned(into) and [p.name for p in into.parent.iterdir()] in ([], ["cache"])
    tune(tiny_folder, into, replace(QUICK, max_steps=2))
    assert is_fine_tuned(into) and weights(into)


def test_a_rate_that_breaks_the_model_is_told(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="lower --learning-rate"):
        tune(tiny_folder, tmp_path / "model", replace(QUICK, learning_rate=1e30))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("rank", 0), ("epochs", 0), ("batch_size", -1), ("max_steps", 0), ("alpha", 0.0),
     ("learning_rate", -1e-4), ("learning_rate", float("nan")), ("dropout", 1.0)],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(name, value):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} "):
        replace(QUICK, **{name: value})


def test_a_quantised_base_is_refused(tmp_path):
    with pytest.raises(UserError, match="4bit.*without it"):
        finetune(ModelSpec("x", quantization="4bit"), tmp_path, items(), CHOICE, QUICK, tmp_path, 0)


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path) -> Recipe:
    data = write_toy(tmp_path / "toy.jsonl")
    return Recipe(
        "toy", str(data), group_col="topic", id_col="id", model=str(tiny_folder), device="cpu",
        layers="1,2", strengths="1,4", scoring="choice",
    )  # fmt: skip


@pytest.mark.server
def test_the_flow_trains_on_training_items_once_and_a_vector_is_made_on_top(
    home, recipe, tiny_folder, tmp_path
):
    held = resources.model(recipe.spec)
    before = {name: value.clone() for name, value in held.model.state_dict().items()}
    tuning = replace(QUICK, max_steps=3)
    folder = flow(recipe, tuning)
    assert held is resources.model(recipe.spec) and same(before, held.model.state_dict())
    assert same(before, weights(tiny_folder)) and not same(before, weights(folder))

    split_at = load(recipe)
    assert folder == sft_folder(recipe, split_at, tuning) and folder.parent == home / "models"
    parts = read_split(resources.lake(), split_at)
    alone = finetune(
        recipe.spec, settings().cache_dir, parts.train, recipe.rule, tuning, tmp_path / "alone", 0
    )
    assert same(weights(folder), weights(alone.folder))

    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert flow(recipe, tuning) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    others = [
        sft_folder(recipe, split_at, replace(tuning, rank=2)),
        sft_folder(replace(recipe, seed=1), split_at, tuning),
        sft_folder(recipe, "stages/splits/another.parquet", tuning),
        sft_folder(replace(recipe, scoring="letter"), split_at, tuning),
    ]
    assert len({folder, *others}) == 5

    outcome = train(replace(recipe, model=str(folder))).outcome
    assert outcome.model_name == f"pas-{folder.name}-toy" and outcome.prompts_extracted > 0
    assert load(replace(recipe, model=str(folder))) == split_at


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pas", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.server
def test_the_command_prints_the_folder_and_what_to_do_with_it(home, recipe, monkeypatch, capfd):
    options = ("finetune", "--task", "toy", "--data", recipe.data, "--model", recipe.model,
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
    hint = f"pas train --task toy --model {told['folder']} --data {recipe.data} --group-col topic"
    assert f"next: {hint} --device cpu --scoring choice --train-items 20\n" in shown.err


def test_the_commands_defaults_are_those_of_the_settings():
    offered = inspect.signature(command).parameters
    assert {f.name: offered[f.name].default for f in fields(FineTuning)} == {
        f.name: f.default for f in fields(FineTuning)
    }


@pytest.mark.parametrize("absent", ["peft", "trl"])
def test_without_the_extra_the_remedy_is_named(home, recipe, absent, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, absent, None)
    assert run(monkeypatch, "finetune", "--task", "toy", "--data", recipe.data) == 2
    assert "pip install 'painless-steering[sft]'" in capfd.readouterr().err
    assert not home.exists()
