"""Fine-tuning: what is taught, what changes and what must not."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from trl import SFTTrainer

import pas.finetune.lora
from pas.data.chat import chat_of, prompt_style
from pas.data.examples import Example
from pas.data.prompts import encode, full_prompt
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.finetune.lora import passes_of
from pas.finetune.settings import FineTuning
from pas.finetune.training import IGNORED, finetune, is_fine_tuned, read_fine_tuned, target
from pas.models.loading import LoadedModel, load_model, load_model_info
from pas.models.spec import ModelSpec
from tests.helpers.chat_templates import CHATML, INST
from tests.helpers.tiny_models import save_tiny, tiny_tokenizer, toy_questions
from tests.helpers.weights import same, weights

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
    tokens = tiny("llama").info
    for example in items():
        prompt = ids(tokens.tokenizer, full_prompt(example, rule.kind))
        whole = ids(tokens.tokenizer, f"{full_prompt(example, rule.kind)} {right(example, rule)}")
        found = target(tokens, example, rule)
        assert list(found.token_ids) == whole and whole[: len(prompt)] == prompt
        assert list(found.labels) == [IGNORED] * len(prompt) + whole[len(prompt) :]


def test_a_bare_letter_is_taught_where_the_bare_one_is_read(tiny):
    tokens = tiny("llama").info
    for example in items():
        found = target(tokens, example, BARE)
        letter = tokens.tokenizer.convert_tokens_to_ids(right(example, BARE))
        assert list(found.token_ids) == [*ids(tokens.tokenizer, full_prompt(example, "letter")),
                                         letter]  # fmt: skip
        assert found.labels[-1] == letter and set(found.labels[:-1]) == {IGNORED}


@pytest.mark.parametrize("template", [CHATML, INST], ids=["no gap", "gap"])
def test_an_answer_is_taught_as_the_template_places_it(tiny, template):
    tokens = tiny("llama", template.text).info
    style = prompt_style(tokens, "chat")
    for rule in (replace(BOTH, prompt=style), replace(CHOICE, prompt=style)):
        for example in items():
            opened = full_prompt(example, rule.kind, chat_of(tokens, style))
            found = target(tokens, example, rule)
            answered = f"{opened}{template.gap}{right(example, rule)}"
            assert found.token_ids == encode(tokens, answered).token_ids
            n_prompt = len(encode(tokens, opened).token_ids)
            assert found.labels.count(IGNORED) == n_prompt


def test_where_tokens_cross_the_border_the_answer_begins_before_it(tiny):
    merging = tiny_tokenizer(split_words=False)
    tokens = replace(tiny("llama").info, tokenizer=merging)
    # Ends as the texts do that the merges were learnt from, so that the space joins the full stop.
    example = Example("x", "It eats old bread,", ("and it sleeps by the mill", "x"), 0, "x")
    prompt, whole = ids(merging, example.question), ids(merging, f"{example.question} and it sleeps"
                                                                 " by the mill")  # fmt: skip
    agreeing = next(i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b)
    found = target(tokens, example, CHOICE)
    assert agreeing < len(prompt) and list(found.token_ids) == whole
    assert list(found.labels) == [IGNORED] * agreeing + whole[agreeing:]


def test_a_prompt_that_fills_the_window_has_no_room_for_its_letter(tiny):
    example, tokens = items()[0], tiny("llama").info
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
    monkeypatch.setitem(pas.finetune.lora.PASS_TOKENS, "cpu", 70)
    longest = max(len(target(load_model_info(ModelSpec(str(tiny_folder)), tmp_path), e, CHOICE)[0])
                  for e in items())  # fmt: skip
    assert passes_of(QUICK.batch_size, longest, 70) > 1
    cut = tune(tiny_folder, tmp_path / "model")
    assert cut.losses == pytest.approx(tuned.losses, rel=1e-3)


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
    where = {"training": (SFTTrainer, "training_step"), "saving": (json, "dumps")}[moment]

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


def test_a_quantised_base_is_refused(tmp_path):
    with pytest.raises(UserError, match="4bit.*without it"):
        finetune(ModelSpec("x", quantization="4bit"), tmp_path, items(), CHOICE, QUICK, tmp_path, 0)
