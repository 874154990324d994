"""In-context runs: the whole flow against the oracle."""

from pathlib import Path

import pytest

from flows.train import train
from pas.data.examples import Example
from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from storage.catalogue.views import query
from storage.lake.stages import read_split
from tasks import resources
from tasks.load import load
from tasks.shots import with_worked_examples
from tests.helpers import oracle
from tests.helpers.chat_templates import CHATML, ChatTemplate
from tests.helpers.recipes import toy
from tests.helpers.tiny_models import save_tiny


@pytest.mark.server
@pytest.mark.parametrize("scoring", ["letter", "choice"])
@pytest.mark.parametrize("template", [None, CHATML], ids=["plain", "chat"])
def test_the_flow_agrees_with_the_oracle(
    home: Path, tmp_path: Path, scoring: str, template: ChatTemplate | None
) -> None:
    folder = save_tiny("llama", tmp_path / "m", chat_template=template and template.text)
    model = load_model(ModelSpec(str(folder)), tmp_path / "cache")
    plain = toy(tmp_path, folder, 40, strengths="4", methods=("pasf", "ipaswo"), scoring=scoring)
    recipe = plain.but(shots=2)
    outcome = train(recipe).outcome
    assert outcome.model_name.endswith("-toy-2shot")
    chat = template and oracle.Chat(model.tokenizer, template.text)
    gap = template.gap if template else " "

    def prompt(example: Example) -> str:
        if chat is None and scoring == "choice":
            return example.prefix + example.question
        if chat is None:
            return example.prefix + oracle.full_prompt(example.question, example.choices)
        asked = example.question
        if scoring == "letter":
            asked = oracle.chat_question(asked, example.choices)
        return oracle.chat_text(chat, asked, example.turns)

    def answer(example: Example) -> int:
        text, n = prompt(example), len(example.choices)
        if scoring == "letter":
            scores = oracle.letter_scores(model.model, model.tokenizer, text, n, "both")
        else:
            scores = oracle.choice_scores(
                model.model, model.tokenizer, text, example.choices, True, gap=gap
            )
        return oracle.answer(scores, example.id, oracle.Scoring(ties="even"))

    base = read_split(resources.lake(), load(plain))
    wrong = {e.id for e in base.train if answer(e) != e.label}
    parts = read_split(resources.lake(), with_worked_examples(recipe, load(recipe)))
    taken = {e.id for e in base.train} - {e.id for e in parts.train}
    assert len(taken) == 2 and taken <= wrong
    if chat is not None:
        shown = {e.question: e for e in base.train if e.id in taken}
        assert not parts.val[0].prefix and len(parts.val[0].turns) == 2
        for asked, answered in parts.val[0].turns:
            e = shown[asked.partition("\n")[0]]
            assert answered == (e.choices[e.label] if scoring == "choice" else "ABCDE"[e.label])
    assert [e.id for e in parts.test] == [e.id for e in base.test], "the arms share their items"
    # The winner's vector is built from the answers under the prefix.
    answered = {e.id: answer(e) for e in (*parts.train, *parts.val, *parts.test)}
    rows = query(resources.lake(), "SELECT item_id, baseline_choice FROM items").to_pylist()
    assert {r["item_id"]: r["baseline_choice"] for r in rows} == answered
    texts = {+1: [], -1: []}
    for e in parts.train:
        texts[+1 if answered[e.id] == e.label else -1].append(prompt(e))
    signed = [(text, sign) for sign, found in texts.items() for text in found]
    expected = oracle.mean_difference(model.model, model.tokenizer, signed, 2).numpy()
    sql = "SELECT direction FROM vectors WHERE method = 'pasf' AND layer = 2"
    [found] = query(resources.lake(), sql).to_pylist()
    assert found["direction"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
