"""In-context runs: the whole flow against the oracle."""

from pathlib import Path

import pytest

from flows.train import train
from pas.data.examples import Example
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from storage.catalogue.views import query
from storage.lake.stages import read_split
from tasks import resources
from tasks.load import load
from tasks.shots import with_worked_examples
from tests.helpers import oracle
from tests.helpers.recipes import toy


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> LoadedModel:
    return load_model(ModelSpec(str(tiny_folder)), tmp_path / "cache")


@pytest.mark.server
@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_the_flow_agrees_with_the_oracle(
    home: Path, tmp_path: Path, tiny_folder: Path, model: LoadedModel, scoring: str
) -> None:
    plain = toy(
        tmp_path, tiny_folder, 40, strengths="4", methods=("pasf", "ipaswo"), scoring=scoring
    )
    recipe = plain.but(shots=2)
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
    parts = read_split(resources.lake(), with_worked_examples(recipe, load(recipe)))
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
