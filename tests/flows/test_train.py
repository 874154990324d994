"""The train flow, run for real on a tiny model: results, caching, tables, MLflow."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.extract import extract
from flows.train import train
from pas.errors import UserError
from pas.methods.grid import read_layer
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from pas.reading import take_in
from pas.recipe import Recipe
from storage.catalogue.views import query
from storage.lake.stages import read_split
from storage.registry.client import client
from storage.registry.versions import find_aliases, list_versions, load_vector, resolve
from storage.settings import settings
from tasks import resources
from tasks.extract import plan
from tasks.load import load, split_stage
from tasks.predict import predictions_stage
from tasks.reports.page import report_file
from tests.helpers import oracle
from tests.helpers.data_files import write_toy
from tests.helpers.recipes import toy

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(ModelSpec(str(tiny_folder)), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path) -> Recipe:
    return toy(tmp_path, tiny_folder)


def oracle_item(example) -> oracle.Item:
    """Undo the shown order, which the stage file keeps as positions."""
    original = [example.choices[example.positions.index(i)] for i in range(len(example.choices))]
    label = example.positions[example.label]
    return oracle.Item(
        example.id, example.question, tuple(original), label, example.positions, example.fact
    )


@pytest.mark.parametrize("protocol", ["sound", "paper"])
@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_vectors_and_every_cell_agree_with_the_oracle(home, recipe, model, protocol, scoring):
    recipe = recipe.but(protocol=protocol, scoring=scoring, max_items=30)
    outcome = train(recipe).outcome
    address = split_stage(recipe, take_in(recipe)).address
    parts = read_split(resources.lake(), address)
    kind = oracle.Scoring(
        scoring, "bare" if protocol == "paper" else "both", length_norm=recipe.length_norm
    )
    items = [oracle_item(e) for e in parts.train]
    expected = oracle.build_vectors(
        model.model, model.tokenizer, items, recipe.estimators, (1, 2), kind, protocol
    )
    vectors = query(resources.lake(), "SELECT * FROM vectors WHERE method <> 'random'").to_pylist()
    found = {(row["method"], row["layer"]): np.array(row["direction"]) for row in vectors}
    assert found.keys() == expected.keys()
    for key, direction in found.items():
        wanted = expected[key].numpy()
        assert np.linalg.norm(direction - wanted) <= 1e-5 * np.linalg.norm(wanted), key
    assert read_layer(2, protocol) == (1 if protocol == "paper" else 2)

    swept = oracle.sweep(
        model.model,
        model.tokenizer,
        [oracle_item(e) for e in parts.val],
        expected,
        (1.0, 4.0),
        kind,
    )
    rows = query(
        resources.lake(), "SELECT * FROM sweeps WHERE method <> 'random' AND strength <> 0"
    ).to_pylist()
    cells = {(r["method"], r["layer"], r["strength"]): r["accuracy"] for r in rows}
    assert cells == {key: pytest.approx(cell.accuracy) for key, cell in swept.items()}

    logged = client(resources.registry()).get_run(outcome.run_id).data.metrics
    assert logged["validation/accuracy_unsteered"] == pytest.approx(_unsteered_accuracy())
    best = max(max(cells.values()), _unsteered_accuracy() if protocol == "sound" else 0)
    chosen = cells.get((outcome.method, outcome.layer, outcome.strength), _unsteered_accuracy())
    assert chosen == pytest.approx(best)


def _unsteered_accuracy() -> float:
    sql = "SELECT avg(correct::INT) AS a FROM predictions WHERE split = 'val' AND method = 'none'"
    return query(resources.lake(), sql).to_pylist()[0]["a"]


def test_a_second_run_runs_no_model_and_ends_the_same(home, recipe):
    first, second = train(recipe).outcome, train(recipe).outcome
    assert first.prompts_extracted == first.prompts_total > 0
    assert (second.prompts_extracted, second.prompts_cached) == (0, first.prompts_total)
    assert (first.is_new, second.is_new, second.version) == (True, False, first.version)
    registry, name = resources.registry(), first.model_name
    assert [v.run_id for v in list_versions(registry)] == [first.run_id]
    assert find_aliases(registry, name) == {"candidate": first.version}
    evidence = client(registry).get_run(second.run_id).data.metrics
    assert evidence["test/gain"] == pytest.approx(second.delta)
    same = ("method", "layer", "strength", "baseline_accuracy", "steered_accuracy", "p_value")
    assert [getattr(first, n) for n in same] == [getattr(second, n) for n in same]
    vectors = [
        query(resources.lake(), f"SELECT direction FROM vectors WHERE run_id = '{o.run_id}'")
        for o in (first, second)
    ]
    assert vectors[0].equals(vectors[1])
    states = _task_states()
    assert {
        name: states[name] for name in ("predict", "estimate", "sweep", "answer test items")
    } == (dict.fromkeys(("predict", "estimate", "sweep", "answer test items"), "Cached"))


def test_mlflow_tells_what_came_of_it(home, recipe, monkeypatch):
    monkeypatch.setenv("PAS_USER", "ada")
    settings.cache_clear()
    outcome, evaluation, _ = train(recipe)
    store, name = client(resources.registry()), outcome.model_name
    run = store.get_run(outcome.run_id)
    tags, test = run.data.tags, evaluation.test
    assert tags["Verdict"] == outcome.verdict
    assert (tags["mlflow.source.name"], tags["mlflow.user"]) == ("pas train", "ada")
    assert run.info.user_id == "ada"
    assert tags["mlflow.note.content"].startswith(
        f"**{outcome.verdict}**: {evaluation.verdict.explanation}"
    )
    assert "None" not in run.data.params.values() and run.data.params["seed"] == "0"
    metrics = run.data.metrics
    assert metrics["test/gain"] == pytest.approx(test.delta)
    assert metrics["test/accuracy_steered"] == pytest.approx(test.steered_accuracy)
    assert metrics["validation/accuracy_steered"] == pytest.approx(evaluation.validation_accuracy)
    assert metrics["damage/kl"] == pytest.approx(evaluation.damage.kl)
    assert metrics["test/gain_caa"] == pytest.approx(evaluation.methods["caa"].comparison.delta)
    assert {key.partition("/")[0] for key in metrics} == {
        "test", "validation", "damage", "vector", "seconds",
    }  # fmt: skip
    assert metrics["seconds/total"] > metrics["seconds/sweep"] > 0
    assert run.info.end_time - run.info.start_time >= 1000 * metrics["seconds/total"]

    version = store.get_model_version(name, str(outcome.version))
    assert next(iter(version.tags)) == "Verdict"
    assert resolve(resources.registry(), name).verdict == outcome.verdict
    about = version.description
    assert about.startswith(f"**{outcome.verdict}**")
    assert f"pas steer {name}:{outcome.version}" in about
    assert f"models:/{name}/{outcome.version}" in about
    assert f"{test.baseline_accuracy:.3f} | {test.steered_accuracy:.3f}" in about
    assert f"block {outcome.layer} (residual)" in about
    model_page = store.get_registered_model(name).description
    assert f"models:/{name}@champion" in model_page
    # What somebody writes there stays.
    store.update_registered_model(name, "ours")
    train(recipe.but(seed=1))
    assert store.get_registered_model(name).description == "ours"


def _task_states() -> dict[str, str]:
    """The states of the tasks of the newest train run."""
    with get_client(sync_client=True) as client:
        [run] = client.read_flow_runs(sort="START_TIME_DESC", limit=1)
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = client.read_task_runs(flow_run_filter=wanted, sort="NAME_ASC", limit=100)
    return {run.name: run.state.name for run in tasks}


def test_a_lost_shard_alone_is_made_again(home, recipe, monkeypatch):
    monkeypatch.setenv("PAS_SHARD_TOKENS", "400")
    from storage.settings import settings

    settings.cache_clear()
    first = train(recipe).outcome
    lake = resources.lake()
    shards = lake.list("activations")
    assert len(shards) > 3
    lake.remove(shards[0])
    for address in lake.list("stages/vectors"):
        lake.remove(address)
    second = train(recipe).outcome
    assert 0 < second.prompts_extracted < first.prompts_total
    assert sorted(lake.list("activations")) == sorted(shards)
    sql = "SELECT direction FROM vectors WHERE run_id = '{}' ORDER BY method, layer"
    before, after = (
        np.array(query(lake, sql.format(o.run_id))["direction"].to_pylist())
        for o in (first, second)
    )
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-7)


def test_tables_and_registry_tell_one_story(home, recipe):
    outcome = train(recipe).outcome
    lake = resources.lake()

    def rows(sql):
        return query(lake, sql).to_pylist()

    splits = {r["split"]: r["n"] for r in rows("SELECT split, count(*) n FROM items GROUP BY 1")}
    assert sum(splits.values()) == 60 and set(splits) == {"train", "val", "test"}
    groups = rows("SELECT group_id FROM items GROUP BY 1 HAVING count(DISTINCT split) > 1")
    assert groups == []
    assert rows("SELECT count(*) n FROM items WHERE baseline_choice IS NULL")[0]["n"] == 0
    [zero] = rows("SELECT count(DISTINCT accuracy) n FROM sweeps WHERE strength = 0")
    assert zero["n"] == 1
    [selected] = rows("SELECT * FROM evaluations WHERE selected AND control = 'none'")
    assert selected["steered_accuracy"] == pytest.approx(outcome.steered_accuracy)
    version = resolve(resources.registry(), f"{outcome.model_name}@candidate")
    assert (version.version, version.run_id) == (outcome.version, outcome.run_id)
    vector = load_vector(resources.registry(), version)
    [kept] = rows(
        f"SELECT direction FROM vectors WHERE method = '{vector.method}' AND layer = {vector.layer}"
    )
    assert np.array_equal(vector.direction, np.array(kept["direction"], np.float32))
    lineage = client(resources.registry()).download_artifacts(outcome.run_id, "lineage.json")
    lineage = json.loads(Path(lineage).read_text())
    assert lineage["shards"] == lake.list("activations")
    assert sorted(lineage["stages"].values()) == sorted(
        address for stage in ("splits", "predictions", "vectors", "sweeps", "evaluations", "asking")
        for address in lake.list(f"stages/{stage}")
    )  # fmt: skip


def test_extract_runs_ahead_of_train(home, recipe):
    ahead = extract(recipe)
    outcome = train(recipe).outcome
    assert ahead.prompts_extracted == ahead.prompts_total == outcome.prompts_cached > 0
    assert outcome.prompts_extracted == 0


def test_seeds_share_the_statements(home, recipe):
    caa = recipe.but(methods=("caa",))
    first, second = train(caa).outcome, train(caa.but(seed=1)).outcome
    assert 0 < second.prompts_extracted < first.prompts_extracted


@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_with_the_order_held_a_second_seed_runs_new_items_alone(home, recipe, scoring):
    first = recipe.but(scoring=scoring, order_seed=0)
    second = first.but(seed=1)
    train(first)
    lake = resources.lake()
    seen = {e.id for e in read_split(lake, load(first)).train}
    wanted = read_split(lake, load(second)).train
    new = tuple(e for e in wanted if e.id not in seen)
    todo, alone = plan(second, wanted), plan(second, new)
    assert 0 < todo.unanswered == alone.unanswered <= len(new) < len(wanted)
    assert 0 < todo.total - todo.cached == alone.total - alone.cached < todo.total
    assert todo.tokens == alone.tokens
    assert train(second).outcome.prompts_extracted == todo.total - todo.cached
    assert plan(second, wanted).tokens == 0


def test_where_all_answers_are_right_only_caa_is_left(home, recipe, model, tmp_path, caplog):
    examples = take_in(recipe).examples
    answers = oracle.predict(
        model.model, model.tokenizer,
        [oracle_item(replace(e, positions=tuple(range(len(e.choices))))) for e in examples],
        oracle.Scoring("choice", length_norm=True),
    )  # fmt: skip
    lines = [
        {"question": e.question, "choices": list(e.choices), "label": a}
        for e, a in zip(examples, answers, strict=True)
    ]
    data = tmp_path / "right.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    right = recipe.but(data=str(data), scoring="choice", group_col=None, id_col=None)
    with pytest.raises(UserError, match="pasf, ipaswo: no negative example"):
        train(right.but(methods=("pasf", "ipaswo", "random")))
    assert resources.lake().list("tables") == []
    found = train(right.but(methods=("pasf", "caa", "random")))
    assert "estimate: pasf is left out" in caplog.text
    alone = train(right.but(methods=("caa", "random"))).outcome
    for name in ("method", "layer", "strength", "baseline_accuracy", "steered_accuracy"):
        assert getattr(found.outcome, name) == getattr(alone, name)
    assert {*found.evaluation.methods} == {"caa"}
    for rule in ("one-se", "least-damage"):
        assert {*train(right.but(select=rule)).evaluation.methods} == {"caa"}


@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_a_strength_that_overflows_16_bits_is_told_and_never_selected(home, recipe, protocol):
    strengths = "2,1000000"
    recipe = recipe.but(protocol=protocol, strengths=strengths, dtype="float16", max_items=30)
    trained = train(recipe)
    assert trained.outcome.strength in (0.0, 2.0)
    doubts = trained.evaluation.doubts
    directions = {(m, layer) for m in recipe.methods for layer in (1, 2)}
    broken = {at for at, _ in doubts.broken}
    assert broken == {(m, layer, 1e6) for m, layer in directions}
    asked = "SELECT count(DISTINCT item_id) AS n FROM predictions WHERE split = 'val'"
    [n_val] = query(resources.lake(), asked)["n"].to_pylist()
    assert {n for _, n in doubts.broken} == {n_val}
    told = {what: (measured, note) for what, measured, note in trained.findings}
    measured, note = told["broken configurations"]
    assert measured == str(len(broken)) and f"caa layer 1 × 1e+06 ({n_val} items)" in note

    rows = query(
        resources.lake(),
        "SELECT DISTINCT strength, choice, correct FROM predictions WHERE strength > 100",
    ).to_pylist()
    assert rows == [{"strength": 1e6, "choice": -1, "correct": False}]
    assert train(recipe).evaluation == trained.evaluation  # from the lake
    page = report_file(trained.outcome.run_id).read_text()
    assert "Broken configurations" in page and "caa layer 1 × 1e+06" in page
    assert page.count(">broken</td>") == len(broken)

    alone = recipe.but(strengths="1000000", protocol="paper")
    with pytest.raises(UserError, match=r"--strengths: all \d+ configurations.*layer 1, strength"):
        train(alone)


def test_ties_have_addresses_of_their_own_in_16_bits_alone(home, recipe):
    """What a lake has of a float32 model stays in use."""
    split, half = "stages/splits/0.parquet", recipe.but(dtype="bfloat16")
    assert resources.decided_by(recipe) == {}
    assert resources.decided_by(half) == {"ties": "even"}
    assert resources.decided_by(half.but(protocol="paper")) == {"ties": "first"}
    whole = predictions_stage(recipe, split)
    assert set(whole.ingredients) == {"model", "rule", "split"}
    assert predictions_stage(half, split).ingredients["ties"] == "even"


def test_the_mapping_and_the_rows_left_out_are_kept_with_run_and_vector(
    home: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 60, choices=["x"])
    recipe = Recipe(
        task="toy", data=str(data), model=str(tiny_folder), layers="1", strengths="4",
        methods=("caa",), max_kl=None, skip_bad_rows=True,
    )  # fmt: skip
    outcome = train(recipe).outcome
    registry = resources.registry()
    vector = load_vector(registry, resolve(registry, outcome.model_name))
    mapping = {"question": "question", "choices": ["choices"], "label": "label"}
    assert vector.provenance["mapping"].items() >= (mapping | {"label_base": 0}).items()
    file = client(registry).download_artifacts(outcome.run_id, "lineage.json")
    lineage = json.loads(Path(file).read_text())
    again = Recipe.read(lineage["recipe"])
    assert again.is_mapped and again.mapping.given() == vector.provenance["mapping"]
    [skipped] = lineage["skipped_rows"]
    assert skipped.startswith("row 7") and "out of range for 1 choices" in skipped
