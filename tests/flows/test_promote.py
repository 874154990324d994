"""The promote and rollback flows on candidates that a real training registered."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.outcome import Outcome
from flows.promote import promote, rollback
from flows.train import train
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.checks import CHECKS
from pas.evidence.clusters import ClusteredTest
from pas.evidence.controls import Controls
from pas.evidence.evaluation import Evaluation
from pas.evidence.paired import Comparison, compare
from pas.evidence.verdict import verdict
from storage.lake.tables import write_run_table
from storage.registry.client import client
from storage.registry.promotion import history
from storage.registry.promotion import promote as move_alias
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.registry.versions import find_aliases, load_vector, resolve
from tasks import resources
from tasks.promote import (
    CHAMPION_CHECK,
    accuracy_on_items_of,
    evaluation_of,
    find_candidate,
)
from tests.helpers.chat_templates import LLAMA3
from tests.helpers.recipes import toy
from tests.helpers.tiny_models import save_tiny

pytestmark = pytest.mark.server

TEST = compare([False] * 30 + [True] * 2, [True] * 32)
"""No model is better than that on the same items."""
SOUND = Controls(
    TEST,
    4.0,
    clustered=ClusteredTest(12, 0.9, 0.001),
    constant_accuracy=0.5,
    top_letter_before=0.5,
    top_letter_after=0.5,
    reshuffled=replace(TEST, delta=0.8),
    reshuffled_constant=0.5,
    random_accuracies=(0.5,) * 10,
    leaked_groups=0,
    test_groups=12,
    outside_before=0.1,
    outside_after=0.1,
    neutral_kl=0.01,
)


@pytest.fixture
def trained(home: Path, tmp_path: Path, tiny_folder: Path) -> Outcome:
    return train(toy(tmp_path, tiny_folder, 40, methods=("caa", "random"))).outcome


def register(name: str, controls: Controls, strength: float = 1.0, version: int = 1) -> int:
    """Register the vector of a version again, with other controls.

    A random model gives no honest gain, and what is tried here is what follows from the evidence.
    """
    registry, lake = resources.registry(), resources.lake()
    candidate = find_candidate(name, version)
    vector = load_vector(registry, candidate)
    evaluation = replace(
        evaluation_of(vector, candidate), controls=controls, verdict=verdict(controls)
    )
    kept = vector.provenance | {"evaluation": evaluation.as_dict()}
    with open_run(registry, experiment="pas", run_name="again") as run_id:
        items = lake.read_table(f"tables/items/run_id={candidate.run_id}.parquet")
        write_run_table(lake, "items", run_id, items.drop_columns(["run_id"]))
        changed = replace(
            vector,
            direction=vector.direction + np.float32(0.01 * strength),
            strength=strength,
            provenance=kept,
        )
        data = TrainingData("toy", "toy", "0", items.slice(0, 1))
        made = log_training(registry, run_id, TrainingRecord(changed, data, "x", name, {}))
    assert made.version is not None
    return made.version


def test_the_pipelines_verdict_and_the_promotion_agree(trained: Outcome) -> None:
    registry, name = resources.registry(), trained.model_name
    before = find_aliases(registry, name)
    decision = promote(name)
    assert decision.label == trained.verdict != "real"
    assert not decision.promoted and not decision.unchanged
    vector = load_vector(registry, resolve(registry, name))
    stored = Evaluation.from_dict(vector.provenance["evaluation"])
    assert stored.verdict.label == trained.verdict
    assert decision.findings[:-1] == stored.verdict.findings
    assert decision.refused[0].explanation == stored.verdict.explanation
    assert find_aliases(registry, name) == before
    assert history(registry, name) == []


def loss(**changes: Any) -> Comparison:
    return replace(TEST, **changes)


# For each blocking check, controls on which it alone fails.
REFUSED: dict[str, dict[str, Any]] = {
    "steering chosen": {"strength": 0.0},
    "significance": {"test": loss(p_value=0.05)},
    "significance over groups": {"clustered": replace(SOUND.clustered, p_value=0.05)},
    "size of the gain": {"test": loss(delta=0.0199), "reshuffled": loss(delta=0.01)},
    "re-shuffled choices": {"reshuffled": loss(delta=0.3 * TEST.delta)},
    "one letter": {"top_letter_after": 0.95, "reshuffled": loss(delta=0.0)},
    "constant letter": {"reshuffled_constant": 1.0},
    "answer format": {"outside_after": 0.36},
    "random direction": {"random_accuracies": (0.5,) * 9 + (1.0,)},
    "split": {"leaked_groups": 1},
    "damage": {"neutral_kl": 9.0},
    "controls": {"random_accuracies": (0.5,) * 2},
}


@pytest.mark.parametrize("check", REFUSED)
def test_each_blocking_check_refuses_alone(trained: Outcome, check: str) -> None:
    name = trained.model_name
    version = register(name, replace(SOUND, **REFUSED[check]))
    decision = promote(name, version)
    alone = {"one letter": ["re-shuffled choices", "one letter"]}.get(check, [check])
    assert [f.check for f in decision.refused] == alone
    assert not decision.promoted
    assert "champion" not in find_aliases(resources.registry(), name)


def test_every_blocking_check_is_tried_here_or_needs_bbqs_roles() -> None:
    bbq = {"always unknown", "answerable items", "bias score"}
    loss_only = {"harm"}  # a loss is not significant as a gain either
    assert {c.name for c in CHECKS if c.blocks} == {*REFUSED} | bbq | loss_only


def test_promote_unchanged_champion_and_rollback(trained: Outcome) -> None:
    name, registry = trained.model_name, resources.registry()
    first = register(name, SOUND)
    done = promote(name)
    assert (done.promoted, done.version, done.replaced, done.label) == (True, first, None, "real")
    again = promote(name, first)
    assert again.unchanged and not again.promoted

    second = register(name, SOUND, strength=2.0)
    done = promote(name, second)
    assert done.findings[-1].check == CHAMPION_CHECK
    assert "champion on the same test items" in done.findings[-1].needed
    assert done.promoted and done.replaced == first
    assert find_aliases(registry, name) == {"champion": second, "previous": first}
    assert rollback(name).version == first
    assert find_aliases(registry, name) == {"champion": first, "previous": second}
    past = history(registry, name)
    assert [e["action"] for e in past] == ["promote", "promote", "rollback"]
    assert {f["check"] for f in past[0]["findings"]} >= {"significance", "damage", CHAMPION_CHECK}


def test_a_champion_that_is_as_good_on_the_same_items_stays(trained: Outcome) -> None:
    name, registry = trained.model_name, resources.registry()
    move_alias(registry, name, trained.version)
    # The same answers as the champion's own, on the same items.
    worse = replace(SOUND, test=replace(TEST, steered_accuracy=0.001))
    version = register(name, replace(worse, random_accuracies=(0.0,) * 10, reshuffled_constant=0.0))
    decision = promote(name, version)
    assert CHAMPION_CHECK in [f.check for f in decision.refused]
    with pytest.raises(UserError, match="--accept champion: that is not a finding"):
        promote(name, version, accept=("champion",), reason="we like it")
    assert find_aliases(registry, name)["champion"] == trained.version


@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_the_items_of_a_chat_training_are_asked_as_it_asked_them(
    home: Path, tmp_path: Path, scoring: str
) -> None:
    model = save_tiny("llama", tmp_path / "model", chat_template=LLAMA3.text)
    one = {"layers": "1", "strengths": "4", "methods": ("caa",)}
    recipe = toy(tmp_path, model, 40, scoring=scoring, system="Be brief.", **one)
    outcome = train(recipe).outcome
    candidate = find_candidate(outcome.model_name, None)
    vector = load_vector(resources.registry(), candidate)
    rule = ScoringRule(**vector.provenance["rule"], prompt=vector.prompt)
    assert accuracy_on_items_of(candidate, rule, vector) == outcome.steered_accuracy
    assert candidate.tags["prompt"] == rule.prompt.kind == "chat"


def test_a_team_may_overrule_a_finding_for_a_reason(trained: Outcome) -> None:
    name, registry = trained.model_name, resources.registry()
    version = register(name, replace(SOUND, neutral_kl=0.5))
    assert not promote(name, version).promoted
    with pytest.raises(UserError, match="give the reason with --reason"):
        promote(name, version, accept=("damaging",))
    with pytest.raises(UserError, match="--accept leaky split: .* To accept: damaging"):
        promote(name, version, accept=("leaky split",), reason="x")
    with pytest.raises(UserError, match="name what to accept"):
        promote(name, version, reason="x")
    decision = promote(name, version, accept=("damaging",), reason="used in one tool only")
    assert decision.promoted and decision.label == "damaging"
    [entry] = history(registry, name)
    assert (entry["accepted"], entry["reason"]) == (["damaging"], "used in one tool only")
    tags = client(registry).get_model_version(name, str(version)).tags
    assert (tags["accepted"], tags["accepted_reason"]) == ("damaging", "used in one tool only")


def test_accepting_one_finding_accepts_no_other(trained: Outcome) -> None:
    name = trained.model_name
    version = register(name, replace(SOUND, neutral_kl=0.5, leaked_groups=6))
    decision = promote(name, version, accept=("damage",), reason="known")
    assert [f.check for f in decision.refused] == ["split"] and not decision.promoted


@pytest.fixture
def without_items(trained: Outcome) -> Callable[[], None]:
    def remove() -> None:
        candidate = find_candidate(trained.model_name, None)
        resources.lake().remove(f"tables/items/run_id={candidate.run_id}.parquet")

    return remove


def test_what_is_not_there_is_said(trained: Outcome, without_items: Callable[[], None]) -> None:
    name, registry = trained.model_name, resources.registry()
    with pytest.raises(UserError, match="no version 9"):
        promote(name, 9)
    with pytest.raises(UserError, match="pas-nothing"):
        promote("pas-nothing")
    with pytest.raises(UserError, match="previous"):
        rollback(name)
    move_alias(registry, name, trained.version)
    register(name, SOUND)
    without_items()
    with pytest.raises(UserError, match="not in the lake"):
        promote(name)
