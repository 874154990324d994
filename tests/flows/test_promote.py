"""The promote and rollback flows on candidates that a real training registered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.promote import promote, rollback
from flows.train import train
from pas.errors import UserError
from pas.evidence.paired import compare
from pas.recipe import Recipe
from storage.lake.tables import write_run_table
from storage.registry.promotion import history
from storage.registry.promotion import promote as move_alias
from storage.registry.runs import TrainingData, log_training, open_run
from storage.registry.versions import find_aliases, load_vector
from storage.settings import settings
from tasks import resources
from tasks.promote import evidence_of, find_candidate
from tests.helpers.data_files import write_toy

pytestmark = pytest.mark.server


@pytest.fixture
def trained(home: Path, tmp_path: Path, tiny_folder: Path):
    data = write_toy(tmp_path / "toy.jsonl", 40)
    recipe = Recipe(
        "toy", str(data), group_col="topic", model=str(tiny_folder), layers="1,2",
        strengths="1,4", methods=("caa", "random"),
    )  # fmt: skip
    return train(recipe).outcome


def better_candidate(name: str) -> int:
    """Register the candidate's vector again, its evidence that of a flawless test.

    A random model gives no honest gain, and what is tried here is what follows from evidence.
    """
    registry, lake = resources.registry(), resources.lake()
    candidate = find_candidate(name, None)
    vector = load_vector(registry, candidate)
    test = compare([False] * 30 + [True] * 2, [True] * 32)
    evidence = evidence_of(vector)._replace(
        test=test, strength=1.0, random_accuracies=(0.5,), constant_accuracy=0.5,
        reshuffled_delta=0.4, faults=(),
    )  # fmt: skip
    kept = vector.provenance | {"evidence": evidence._asdict() | {"test": test.as_dict()}}
    direction = vector.direction + np.float32(0.01)
    with open_run(registry, experiment="pas", run_name="better") as run_id:
        items = lake.read_table(f"tables/items/run_id={candidate.run_id}.parquet")
        write_run_table(lake, "items", run_id, items.drop_columns(["run_id"]))
        made = log_training(
            registry, run_id, vector=replace(vector, direction=direction, provenance=kept),
            params={}, metrics={}, tables={}, figures={}, pages=[], lineage={}, example_prompt="x",
            data=TrainingData("toy", "toy", "0", items.slice(0, 1)), model_name=name,
            version_tags={},
        )  # fmt: skip
    return made.version


def test_a_refusal_names_the_gates_and_changes_nothing(trained) -> None:
    before = find_aliases(resources.registry(), trained.model_name)
    verdict = promote(trained.model_name)
    assert not verdict.promoted and not verdict.unchanged
    failed = {gate.name: gate for gate in verdict.gates if not gate.passed}
    assert "significance" in failed and f"{trained.p_value:.4g}" in failed["significance"].measured
    assert find_aliases(resources.registry(), trained.model_name) == before
    assert history(resources.registry(), trained.model_name) == []


def test_promote_unchanged_champion_gate_and_rollback(trained) -> None:
    name, registry = trained.model_name, resources.registry()
    first = better_candidate(name)
    done = promote(name)
    assert (done.promoted, done.version, done.replaced) == (True, first, None)
    again = promote(name, first)
    assert again.unchanged and not again.promoted

    second = better_candidate_of(name, first)
    done = promote(name, second)
    champion = next(gate for gate in done.gates if gate.name == "champion")
    assert "champion on the same test items" in champion.needed
    assert done.promoted and done.replaced == first
    assert find_aliases(registry, name) == {"champion": second, "previous": first}
    assert rollback(name).version == first
    assert find_aliases(registry, name) == {"champion": first, "previous": second}
    assert [e["action"] for e in history(registry, name)] == ["promote", "promote", "rollback"]


def better_candidate_of(name: str, version: int) -> int:
    """A candidate from that version: promotion takes the alias that `better_candidate` follows."""
    from storage.registry.client import client

    client(resources.registry()).set_registered_model_alias(name, "candidate", str(version))
    return better_candidate(name)


def test_a_champion_that_is_better_on_the_same_items_stays(trained, monkeypatch) -> None:
    name = trained.model_name
    move_alias(resources.registry(), name, trained.version)
    worse = better_candidate_of(name, trained.version)
    monkeypatch.setenv("PAS_MIN_DELTA", "2")
    settings.cache_clear()
    verdict = promote(name, worse)
    assert [g.name for g in verdict.gates if not g.passed] == ["gain"]
    assert find_aliases(resources.registry(), name)["champion"] == trained.version


def test_what_is_not_there_is_said(trained, home) -> None:
    with pytest.raises(UserError, match="no version 9"):
        promote(trained.model_name, 9)
    with pytest.raises(UserError, match="pas-nothing"):
        promote("pas-nothing")
    with pytest.raises(UserError, match="previous"):
        rollback(trained.model_name)
    move_alias(resources.registry(), trained.model_name, trained.version)
    other = better_candidate_of(trained.model_name, trained.version)
    candidate = find_candidate(trained.model_name, other)
    resources.lake().remove(f"tables/items/run_id={candidate.run_id}.parquet")
    with pytest.raises(UserError, match="not in the lake"):
        promote(trained.model_name, other)
