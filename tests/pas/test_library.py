"""The method as a library: the same vector as the pipeline's, and no package of a pipeline."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pas
from flows.train import train
from pas.errors import UserError
from pas.methods.contrast import METHODS, RANDOM
from pas.methods.grid import Configuration
from pas.recipe import Recipe
from storage.catalogue.views import query
from tasks import resources
from tests.helpers.absent_packages import PIPELINE, run_without
from tests.helpers.data_files import write_toy


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path, home: Path) -> Recipe:
    data = write_toy(tmp_path / "toy.jsonl", 60)
    return Recipe(
        "toy",
        str(data),
        group_col="topic",
        id_col="id",
        model=str(tiny_folder),
        layers="1,2",
        strengths="0.5,1,4",
        max_kl=None,
    )


@pytest.mark.parametrize("scoring", ["letter", "choice"])
@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_library_and_pipeline_make_the_same_vector(
    recipe: Recipe, tmp_path: Path, scoring: str, protocol: str
) -> None:
    recipe = replace(recipe, scoring=scoring, protocol=protocol)
    trained = train(recipe)

    examples = pas.read_examples(recipe.source, recipe.columns)
    split = pas.split(examples, recipe.seed, recipe.protocol)
    model = pas.load_model(recipe.spec, tmp_path / "cache")
    read = pas.answer_and_extract(
        model, split.train, (*METHODS, RANDOM), (1, 2), recipe.rule, protocol=recipe.protocol
    )
    directions = pas.estimate(read, recipe.seed)
    rows = query(resources.lake(), "SELECT * FROM vectors").to_pylist()
    assert directions.direction.keys() == {(row["method"], row["layer"]) for row in rows}
    for row in rows:
        found = directions.direction[row["method"], row["layer"]]
        np.testing.assert_allclose(found, row["direction"], rtol=1e-6, atol=1e-6)

    swept = pas.sweep(model, split.val, directions, recipe.grid_strengths, recipe.rule)
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
    assert mine.neutral_kl == pytest.approx(theirs.neutral_kl, rel=1e-4, abs=1e-7)
    assert evaluation.verdict.label == trained.evaluation.verdict.label

    vector = pas.vector_of(model, swept, evaluation, task="toy")
    vector.save(tmp_path / "vector")
    kept = pas.SteeringVector.load(tmp_path / "vector")
    assert kept.adds_the_same_as(vector)
    assert kept.provenance["evaluation"]["verdict"]["label"] == evaluation.verdict.label


_IN_MEMORY = """
import sys
import pas

data, folder = sys.argv[1:]
columns = pas.Columns("question", ("choices",), "label", group="topic", id="id")
split = pas.split(pas.read_examples(data, columns))
model = pas.load_model(folder, cache_dir=__import__("pathlib").Path(folder).parent / "cache")
read = pas.answer_and_extract(model, split.train, layers=[1, 2])
swept = pas.sweep(model, split.val, pas.estimate(read), [0, 1, 4])
selection = pas.select(model, swept, max_kl=None)
evaluation = pas.test(model, split, swept, selection)
vector = pas.vector_of(model, swept, evaluation, task="toy")
vector.save(folder + "-vector")
vector = pas.SteeringVector.load(folder + "-vector")
print(evaluation.verdict.label, len(evaluation.random), evaluation.test.n)
print(repr(pas.generate(model, "The heron", vector, strength=2.0, max_new_tokens=5)))
"""


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_becomes_a_tested_vector_without_the_pipelines_packages(
    tmp_path: Path, tiny_folder: Path, suffix: str
) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 60)
    if suffix == "csv":
        import pandas as pd

        frame = pd.read_json(data, lines=True)
        frame["choices"] = frame["choices"].map(lambda texts: str(texts).replace("'", '"'))
        data = tmp_path / "toy.csv"
        frame.to_csv(data, index=False)
    done = run_without(PIPELINE, _IN_MEMORY, str(data), str(tiny_folder))
    assert done.returncode == 0, done.stderr[-2000:]
    verdict, text = done.stdout.strip().splitlines()
    assert verdict == "not significant 10 10"
    assert len(text) > len("''")


def test_importing_the_package_loads_no_torch_and_every_name_is_there() -> None:
    code = (
        "import sys, pas\nfrom pas.errors import UserError\nfrom pas import split, Columns\n"
        "loaded = {'torch', 'transformers', 'numpy'} & {*sys.modules}\n"
        "assert not loaded, loaded\n"
        "assert all(getattr(pas, name) is not None for name in pas.__all__)\n"
        "assert {*pas.__all__} <= {*dir(pas)}\n"
    )
    done = run_without(("prefect", "mlflow", "duckdb"), code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(pas.__all__) <= 16 and pas.__all__ == sorted(pas.__all__)
    with pytest.raises(AttributeError, match="'pas' has no attribute 'stear'"):
        _ = pas.stear
    assert issubclass(pas.UserError, UserError) and "pas" in sys.modules
