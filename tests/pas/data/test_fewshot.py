"""In-context runs: exemplars are wrongly answered items, and all else is as without them."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.train import train
from pas.data.examples import Example, ItemAnswer
from pas.data.fewshot import exemplars, prefix_of, with_shots
from pas.data.prompts import full_prompt, statement
from pas.data.splits import Split
from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from pas.recipe import Recipe
from storage.catalogue.views import query
from storage.lake.stages import read_split
from tasks import resources
from tasks.load import load
from tasks.shots import shown
from tests.helpers import oracle
from tests.helpers.data_files import write_toy


def item(name: str) -> Example:
    return Example(name, f"What is {name}?", ("this", "that"), 1, name)


ITEMS = [ItemAnswer(item(f"q{i}"), i % 2) for i in range(20)]  # the even ones are wrong


def test_exemplars_are_wrongly_answered_and_drawn_by_seed() -> None:
    found = exemplars(ITEMS, 5, 0)
    assert len({e.id for e in found}) == 5
    assert all(int(e.id[1:]) % 2 == 0 for e in found)
    assert found == exemplars(ITEMS, 5, 0) != exemplars(ITEMS, 5, 1)
    with pytest.raises(UserError, match="only 10 of 20"):
        exemplars(ITEMS, 11, 0)


def test_the_prefix_shows_right_answers() -> None:
    assert prefix_of([item("a")], "letter") == (
        "What is a?\nA: this\nB: that\nRespond with a single letter.\nAnswer: B\n\n"
    )
    assert prefix_of([item("a"), item("b")], "choice") == "What is a? that\n\nWhat is b? that\n\n"


def test_prompts_get_the_prefix_and_statements_do_not() -> None:
    parts = Split(tuple(i.example for i in ITEMS), (item("v"),), (item("t"),))
    found = with_shots(parts, ITEMS, 3, 0, "letter")
    prefix = prefix_of(exemplars(ITEMS, 3, 0), "letter")
    for before, after in ((parts.val[0], found.val[0]), (parts.test[0], found.test[0])):
        assert full_prompt(after, "letter") == prefix + full_prompt(before, "letter")
        assert statement(after, 0) == statement(before, 0)
    taken = {e.id for e in exemplars(ITEMS, 3, 0)}
    assert [e.id for e in found.train] == [i.example.id for i in ITEMS if i.example.id not in taken]


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> LoadedModel:
    return load_model(ModelSpec(str(tiny_folder)), tmp_path / "cache")


@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_the_flow_agrees_with_the_oracle(
    home: Path, tmp_path: Path, tiny_folder: Path, model: LoadedModel, scoring: str
) -> None:
    plain = Recipe(
        "toy", str(write_toy(tmp_path / "toy.jsonl", 40)), group_col="topic", id_col="id",
        model=str(tiny_folder), layers="1,2", strengths="4", methods=("pasf", "ipaswo"),
        scoring=scoring,
    )  # fmt: skip
    recipe = replace(plain, shots=2)
    outcome = train(recipe).outcome
    assert outcome.model_name.endswith("-toy-2shot")
    kind = oracle.Scoring(scoring, "both", length_norm=True)

    def answer(example: Example) -> int:
        if scoring == "choice":
            scores = oracle.choice_scores(
                model.model, model.tokenizer, example.prefix + example.question, example.choices,
                True,
            )  # fmt: skip
        else:
            text = example.prefix + oracle.full_prompt(example.question, example.choices)
            scores = oracle.letter_scores(
                model.model, model.tokenizer, text, len(example.choices), kind.variants
            )
        return oracle.argmax(scores)

    base = read_split(resources.lake(), load(plain))
    wrong = {e.id for e in base.train if answer(e) != e.label}
    parts = read_split(resources.lake(), shown(recipe, load(recipe)))
    taken = {e.id for e in base.train} - {e.id for e in parts.train}
    assert len(taken) == 2 and taken <= wrong
    assert [e.id for e in parts.test] == [e.id for e in base.test], "the arms share their items"
    # The winner's vector is built from the answers under the prefix.
    answered = {e.id: answer(e) for e in (*parts.train, *parts.val, *parts.test)}
    rows = query(resources.lake(), "SELECT item_id, baseline_choice FROM items").to_pylist()
    assert {r["item_id"]: r["baseline_choice"] for r in rows} == answered
    texts = {+1: [], -1: []}
    for e in parts.train:
        if scoring == "letter":
            text = e.prefix + oracle.full_prompt(e.question, e.choices)
        else:
            text = e.prefix + e.question
        texts[+1 if answered[e.id] == e.label else -1].append(text)
    signed = [(text, sign) for sign, found in texts.items() for text in found]
    expected = oracle.mean_difference(model.model, model.tokenizer, signed, 2).numpy()
    sql = "SELECT direction FROM vectors WHERE method = 'pasf' AND layer = 2"
    [found] = query(resources.lake(), sql).to_pylist()
    assert found["direction"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_smaller_training_set_is_part_of_a_larger(tmp_path: Path, home: Path) -> None:
    recipe = Recipe("toy", str(write_toy(tmp_path / "toy.jsonl", 40)), group_col="topic")
    whole, ten, four = (
        read_split(resources.lake(), load(replace(recipe, train_items=n))) for n in (None, 10, 4)
    )
    assert ten.train == whole.train[:10] and four.train == whole.train[:4]
    assert ten.val == whole.val and ten.test == whole.test
    with pytest.raises(UserError, match="--train-items 1000"):
        load(replace(recipe, train_items=1000))
