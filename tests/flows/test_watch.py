"""The drift watch: fresh rows asked as the training asked, the trend, and when it speaks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import tasks.watch
from flows import events
from flows.train import train
from flows.watch import watch
from pas.errors import UserError
from pas.evidence.evaluation import Evaluation
from pas.intake.sources import Source
from pas.recipe import Recipe
from storage.lake.stages import read_split
from storage.registry.client import client
from storage.registry.promotion import promote
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run, read_lineage
from storage.registry.versions import load_vector, resolve
from tasks import resources
from tests.helpers import oracle
from tests.helpers.recipes import toy
from tests.helpers.tiny_models import toy_questions

pytestmark = pytest.mark.server


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was emitted; that it arrives is tested on a real server."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        events,
        "emit_event",
        lambda event, resource, payload: seen.append({"event": event} | payload),
    )
    return seen


@pytest.fixture
def recipe(tmp_path: Path, home: Path, tiny_folder: Path) -> Recipe:
    return toy(
        tmp_path, tiny_folder, 120, methods=("caa",), layers="1", strengths="4", order_seed=3
    )


def champion(recipe: Recipe) -> str:
    outcome = train(recipe).outcome
    assert outcome.version is not None
    promote(resources.registry(), outcome.model_name, outcome.version)
    return outcome.model_name


def champion_with(name: str, **test: float) -> None:
    """Make the champion's vector champion again, with another comparison on its test items."""
    registry = resources.registry()
    now = resolve(registry, name)
    vector = load_vector(registry, now)
    evaluation = Evaluation.from_dict(vector.provenance["evaluation"])
    controls = replace(evaluation.controls, test=replace(evaluation.test, **test))
    kept = vector.provenance | {"evaluation": replace(evaluation, controls=controls).as_dict()}
    data = TrainingData("toy", "toy", "0", pa.table({"x": [1]}))
    with open_run(registry, experiment="pas", run_name="toy") as run_id:
        made = log_training(registry, run_id, TrainingRecord(
            replace(vector, provenance=kept), data, "x", name, {},
            lineage=read_lineage(registry, now.run_id),
        ))  # fmt: skip
    assert made.version is not None
    promote(registry, name, made.version)


def fresh_rows(file: Path, n: int = 80, old: int = 0) -> Path:
    """Write new questions, after some of the training's own, all under new ids."""
    rows = [*toy_questions(120)[:old], *toy_questions(n, seed=9)]
    kept = [
        {"id": f"n{i}", "topic": "new"} | {k: r[k] for k in ("question", "choices", "label")}
        for i, r in enumerate(rows)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return file


@pytest.mark.parametrize("protocol", ["paper", "sound"])
def test_fresh_rows_are_asked_as_the_training_asked(
    recipe: Recipe, protocol: str, tmp_path: Path, tiny: Callable[..., Any]
) -> None:
    name = champion(recipe.but(protocol=protocol))
    found = watch(name, str(fresh_rows(tmp_path / "fresh.jsonl", 60, old=30)))
    assert found.known == 30 and found.drift is not None and found.drift.fresh.n == 60

    vector = load_vector(resources.registry(), resolve(resources.registry(), name))
    model, items = tiny("llama"), []
    for i, row in enumerate(toy_questions(60, seed=9), start=30):
        n = len(row["choices"])
        order = (
            oracle.paper_order(n, 3) if protocol == "paper" else oracle.sound_order(n, 3, f"n{i}")
        )
        items.append(
            oracle.Item(f"n{i}", row["question"], tuple(row["choices"]), row["label"], order)
        )
    scoring = oracle.Scoring(
        "letter", "bare" if protocol == "paper" else "both",
        ties="first" if protocol == "paper" else "even",
    )  # fmt: skip
    steering = oracle.Steering(vector.layer, torch.tensor(vector.strength * vector.direction))
    unsteered, steered = (
        oracle.accuracy(items, oracle.predict(model.model, model.tokenizer, items, scoring, how))
        for how in (None, steering)
    )
    assert found.drift.fresh.baseline_accuracy == unsteered
    assert found.drift.fresh.steered_accuracy == steered


def test_the_trend_is_a_run_and_a_fall_is_an_event(
    recipe: Recipe, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    name, source = champion(recipe), str(fresh_rows(tmp_path / "fresh.jsonl"))
    told.clear()
    state = watch(name, source, return_state=True)
    assert state.name == "As before" and told == []

    # Of a champion that had 95 of 100 right, this is a fall.
    champion_with(name, n=100, steered_accuracy=0.95, baseline_accuracy=0.5, w2r=45, r2w=0)
    state = watch(name, source, return_state=True)
    assert state.name == "Less accurate"
    [payload] = told
    assert payload["event"] == "pas.champion.drifted" and payload["version"] == 2
    assert (payload["n"], payload["source"], payload["task"]) == (80, source, "toy")
    assert payload["accuracy_before"] == 0.95 and "less accurate" in payload["reason"]

    store = client(resources.registry())
    [run] = store.search_runs(
        [e.experiment_id for e in store.search_experiments()], "tags.vector != ''"
    )
    assert run.info.run_name == f"watch {name}" and run.data.tags["source"] == source
    drifted = store.get_metric_history(run.info.run_id, "fresh/drifted")
    assert [(m.step, m.value) for m in drifted] == [(0, 0.0), (1, 1.0)]
    low, mid, high = (run.data.metrics[f"fresh/accuracy_steered{e}"] for e in ("_low", "", "_high"))
    assert low < mid < high and run.data.metrics["fresh/items"] == 80
    # Another source has a run of its own.
    other = str(fresh_rows(tmp_path / "it's other.jsonl"))
    watch(name, other)
    runs = store.search_runs([run.info.experiment_id], "tags.vector != ''")
    assert len(runs) == 2


def test_too_few_rows_decide_nothing(
    recipe: Recipe, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    name = champion(recipe)
    champion_with(name, n=1000, steered_accuracy=0.999)
    told.clear()
    few = watch(name, Source(str(fresh_rows(tmp_path / "few.jsonl", 20))), return_state=True)
    assert few.name == "Too few items" and "20 fresh items are too few" in str(few.message)
    none = watch(name, str(recipe.data.name), return_state=True)
    assert none.name == "Nothing fresh" and told == []


def test_what_is_lacking_is_said(recipe: Recipe, tmp_path: Path) -> None:
    fresh = str(fresh_rows(tmp_path / "fresh.jsonl"))
    outcome = train(recipe).outcome
    with pytest.raises(UserError, match="no alias 'champion'"):
        watch(outcome.model_name, fresh)
    promote(resources.registry(), outcome.model_name, 1)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column 'topic'|no column 'question'"):
        watch(outcome.model_name, str(tmp_path / "other.csv"))
    lineage = read_lineage(resources.registry(), outcome.run_id)
    resources.lake().remove(lineage["stages"]["split"])
    with pytest.raises(UserError, match="not in the lake"):
        watch(outcome.model_name, fresh)


def test_worked_examples_are_those_of_the_training(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = champion(recipe.but(shots=2))
    asked: list[Any] = []
    whole = tasks.watch.query_of
    monkeypatch.setattr(
        tasks.watch, "query_of", lambda info, e, rule: asked.append(e) or whole(info, e, rule)
    )
    watch(name, str(fresh_rows(tmp_path / "fresh.jsonl")))
    lineage = read_lineage(resources.registry(), resolve(resources.registry(), name).run_id)
    held_out = read_split(resources.lake(), lineage["stages"]["split"]).test[0]
    assert held_out.prefix and {e.prefix for e in asked} == {held_out.prefix}
