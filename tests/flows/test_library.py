"""The library and the pipeline make the same vector, and say the same of it."""

from pathlib import Path

import numpy as np
import pytest

import pas
from flows.train import train
from pas.data.chat import PLAIN
from pas.methods.contrast import METHODS, RANDOM
from pas.methods.grid import Configuration
from pas.recipe import Recipe, resolve
from storage.catalogue.views import query
from storage.registry.versions import load_vector
from storage.registry.versions import resolve as resolve_version
from tasks import resources
from tests.helpers.chat_templates import LLAMA3
from tests.helpers.recipes import toy
from tests.helpers.tiny_models import save_tiny

pytestmark = pytest.mark.server


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path, home: Path) -> Recipe:
    return toy(tmp_path, tiny_folder, strengths="0.5,1,4")


@pytest.mark.parametrize("scoring", ["letter", "choice"])
@pytest.mark.parametrize("way", ["sound", "paper", "chat"])
def test_library_and_pipeline_make_the_same_vector(
    recipe: Recipe, tmp_path: Path, scoring: str, way: str
) -> None:
    recipe = recipe.but(scoring=scoring, protocol="paper" if way == "paper" else "sound")
    if way == "chat":
        folder = save_tiny("llama", tmp_path / "chat", chat_template=LLAMA3.text)
        recipe = recipe.but(model=str(folder), system="Be brief.")
    trained = train(recipe)

    examples = pas.read_examples(recipe.source, recipe.mapping)
    split = pas.split(examples, recipe.seed, recipe.protocol)
    model = pas.load_model(recipe.model, tmp_path / "cache")
    setup = resolve(recipe, model.info)
    read = pas.answer_and_extract(
        model, split.train, (*METHODS, RANDOM), (1, 2), setup.rule, protocol=recipe.protocol
    )
    assert setup.rule.prompt == (
        pas.prompt_style(model.info, "chat", "Be brief.") if way == "chat" else PLAIN
    )
    directions = pas.estimate(read, recipe.seed)
    rows = query(resources.lake(), "SELECT * FROM vectors").to_pylist()
    assert directions.direction.keys() == {(row["method"], row["layer"]) for row in rows}
    for row in rows:
        found = directions.direction[row["method"], row["layer"]]
        np.testing.assert_allclose(found, row["direction"], rtol=1e-6, atol=1e-6)

    swept = pas.sweep(model, split.val, directions, setup.strengths, setup.rule)
    counted = {
        Configuration(row["method"], row["layer"], row["strength"]): row["correct"]
        for row in query(resources.lake(), "SELECT * FROM sweeps").to_pylist()
    }
    assert {cell.configuration: cell.correct for cell in swept.cells} == counted
    selection = pas.select(model, swept, recipe.protocol, max_kl=None)
    selected, expected = selection.selected.configuration, trained.evaluation.selected
    # Every method's strength 0 is the same configuration, whichever stands for them.
    assert selected == expected or selected.strength == expected.strength == 0

    evaluation = pas.test(model, split, swept, selection, recipe.seed)
    mine, theirs = evaluation.controls, trained.evaluation.controls
    assert (mine.test, mine.reshuffled) == (theirs.test, theirs.reshuffled)
    assert mine.random_accuracies == theirs.random_accuracies
    assert mine.asking == theirs.asking and [a.how for a in mine.asking] == ["3 worked examples"]
    assert mine.neutral_kl == pytest.approx(theirs.neutral_kl, rel=1e-4, abs=1e-7)
    assert evaluation.verdict.label == trained.evaluation.verdict.label

    vector = pas.vector_of(model, swept, evaluation, task="toy")
    vector.save(tmp_path / "vector")
    kept = pas.SteeringVector.load(tmp_path / "vector")
    assert kept.adds_the_same_as(vector)
    registered = load_vector(
        resources.registry(), resolve_version(resources.registry(), trained.outcome.model_name)
    )
    assert kept.prompt == registered.prompt == setup.rule.prompt
    assert kept.provenance["rule"] == registered.provenance["rule"]
    assert kept.provenance["evaluation"]["verdict"]["label"] == evaluation.verdict.label
