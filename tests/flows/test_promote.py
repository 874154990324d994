"""The promote and rollback flows on candidates that a real training registered."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flows import promote as promoting
from flows.outcome import Outcome
from flows.promote import promote, reconcile, rollback
from flows.train import train
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.checks import CHECKS
from pas.evidence.clusters import ClusteredTest
from pas.evidence.controls import Controls
from pas.evidence.evaluation import Evaluation
from pas.evidence.paired import Comparison, compare
from pas.evidence.verdict import verdict
from storage.lake.tables import table_address, write_run_table
from storage.registry import lock, promotion, records
from storage.registry.client import client
from storage.registry.promotion import promote as move_alias
from storage.registry.records import Record, history
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.registry.versions import find_aliases, load_vector, resolve
from tasks import resources
from tasks.answers import TEST as TEST_ITEMS
from tasks.compare import CHAMPION_CHECK, LEAST_ITEMS, UNSEEN_CHECK, correct_answers
from tasks.promote import REFUSED_CHECK, ROLLED_BACK_CHECK, evaluation_of, find_candidate
from tests.helpers.chat_templates import LLAMA3
from tests.helpers.recipes import toy
from tests.helpers.registries import Died, Dying
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


def rows_of(name: str, version: int, table: str) -> list[dict[str, Any]]:
    lake, run_id = resources.lake(), resolve(resources.registry(), f"{name}:{version}").run_id
    rows: list[dict[str, Any]] = lake.read_table(table_address(lake, table, run_id)).to_pylist()
    return rows


def held_out_items(name: str, version: int) -> list[dict[str, Any]]:
    return [row for row in rows_of(name, version, "items") if row["split"] == TEST_ITEMS]


def register(
    name: str,
    controls: Controls,
    strength: float = 1.0,
    version: int = 1,
    right: float = 1.0,
    prefix: str = "",
) -> int:
    """Register the vector of a version again, with other controls, answers and items.

    A random model gives no honest gain, and what is tried here is what follows from the evidence.

    Args:
        name: Registered model.
        controls: The evidence.
        strength: Of the vector, which differs from all others with the strength.
        version: Whose vector, and whose items.
        right: Share of the test items that it is said to have answered correctly.
        prefix: Put before the ids and groups of the items, and their prompts.
    """
    registry, lake = resources.registry(), resources.lake()
    candidate = find_candidate(name, version)
    vector = load_vector(registry, candidate)
    evaluation = replace(
        evaluation_of(vector, candidate), controls=controls, verdict=verdict(controls)
    )
    kept = vector.provenance | {"evaluation": evaluation.as_dict()}
    changed = replace(
        vector,
        direction=vector.direction + np.float32(0.01 * strength),
        strength=strength,
        provenance=kept,
    )
    named = ("item_id", "group_id", "prompt")
    items = [
        row | {key: prefix + row[key] for key in named} for row in rows_of(name, version, "items")
    ]
    tested = [row for row in items if row["split"] == TEST_ITEMS]
    at = {"method": changed.method, "layer": changed.layer, "strength": strength}
    answers = [
        {"item_id": row["item_id"], "split": TEST_ITEMS, "choice": choice, "scores": [0.0]}
        | {"correct": choice == row["label"]}
        | at
        for number, row in enumerate(tested)
        for choice in [row["label"] if number < right * len(tested) else 1 - row["label"]]
    ]
    with open_run(registry, experiment="pas", run_name="again") as run_id:
        for table, rows in (("items", items), ("predictions", answers)):
            kept_rows = [{k: v for k, v in row.items() if k != "run_id"} for row in rows]
            write_run_table(lake, table, run_id, pa.Table.from_pylist(kept_rows))
        data = TrainingData("toy", "toy", "0", pa.Table.from_pylist(items[:1]))
        made = log_training(registry, run_id, TrainingRecord(changed, data, "x", name, {}))
    assert made.version is not None
    return made.version


def past(name: str) -> list[Record]:
    return history(resources.registry(), name)


def test_the_pipelines_verdict_and_the_promotion_agree(trained: Outcome) -> None:
    registry, name = resources.registry(), trained.model_name
    before = find_aliases(registry, name)
    decision = promote(name)
    assert decision.label == trained.verdict != "real"
    assert not decision.promoted and not decision.unchanged
    vector = load_vector(registry, resolve(registry, name))
    stored = Evaluation.from_dict(vector.provenance["evaluation"])
    assert stored.verdict.label == trained.verdict
    assert decision.findings[: len(stored.verdict.findings)] == stored.verdict.findings
    rest = decision.findings[len(stored.verdict.findings) :]
    assert [f.check for f in rest] == [ROLLED_BACK_CHECK, CHAMPION_CHECK]
    assert rest[-1].explanation == "There is no champion to compare with."
    assert decision.refused[0].explanation == stored.verdict.explanation
    assert find_aliases(registry, name) == before
    [record] = past(name)
    assert (record.action, record.version, record.automatic) == ("refuse", trained.version, False)
    assert [f["check"] for f in record.findings] == [f.check for f in decision.findings]
    said = resolve(registry, name).tags["Decision"]
    assert said.startswith(f"refused on {record.day}") and decision.refused[0].check in said


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

    assert again.findings[-1].explanation == "The champion, version 2, holds this very vector."
    assert resolve(registry, name).aliases == ("champion",) and len(past(name)) == 1

    second = register(name, SOUND, strength=2.0)
    done = promote(name, second)
    assert done.findings[-1].check == CHAMPION_CHECK
    assert "champion on the same test items" in done.findings[-1].needed
    assert done.promoted and done.replaced == first
    assert find_aliases(registry, name) == {"champion": second, "previous": first}
    assert rollback(name).version == first
    assert find_aliases(registry, name) == {"champion": first, "previous": second}
    assert [r.action for r in past(name)] == ["promote", "promote", "rollback"]
    known = {f["check"] for f in past(name)[0].findings}
    assert known >= {"significance", "damage", CHAMPION_CHECK}


def test_the_same_vector_from_other_evidence_is_kept_beside_the_champion(trained: Outcome) -> None:
    name = trained.model_name
    first = register(name, SOUND)
    promote(name, first)
    # The same vector, with other controls: another version.
    same = register(name, replace(SOUND, neutral_kl=0.02))
    assert same != first
    decision = promote(name, same)
    assert decision.unchanged and not decision.promoted
    assert decision.findings[-1].explanation == "The champion, version 2, holds this very vector."
    assert [(r.action, r.version) for r in past(name)] == [("promote", first), ("keep", same)]


def test_a_champion_that_is_as_good_on_the_same_items_stays(trained: Outcome) -> None:
    name, registry = trained.model_name, resources.registry()
    move_alias(registry, name, trained.version)
    assert trained.steered_accuracy > 0
    # The test accuracy of its evidence is 1, its answers to these items are wrong.
    version = register(name, SOUND, right=0.0)
    decision = promote(name, version)
    assert [f.check for f in decision.refused] == [CHAMPION_CHECK]
    assert "accuracy 0.0000, champion 0." in decision.findings[-1].measured
    with pytest.raises(UserError, match="--accept champion: that is not a finding"):
        promote(name, version, accept=("champion",), reason="we like it")
    assert find_aliases(registry, name)["champion"] == trained.version


def test_the_comparison_counts_the_items_and_is_by_hand_what_the_models_answer(
    trained: Outcome,
) -> None:
    name, registry = trained.model_name, resources.registry()
    move_alias(registry, name, trained.version)
    decision = promote(name, register(name, SOUND))
    items = held_out_items(name, 1)
    assert len(items) >= LEAST_ITEMS
    comparable, champion = decision.findings[-2:]
    assert (comparable.check, comparable.passed) == (UNSEEN_CHECK, True)
    assert comparable.measured == f"{len(items)} of {len(items)} test items"
    lost = round((1 - trained.steered_accuracy) * len(items))
    assert 0 < lost < len(items)
    p_value = min(1.0, 2 * 0.5**lost)  # an exact test of flips that all go one way
    assert champion.measured == (
        f"accuracy 1.0000, champion {1 - lost / len(items):.4f} on {len(items)} items "
        f"(p {p_value:.2g})"
    )


def test_too_few_items_that_neither_has_seen_are_no_comparison(trained: Outcome) -> None:
    name, registry = trained.model_name, resources.registry()
    lake, run_id = resources.lake(), resolve(registry, name).run_id
    move_alias(registry, name, trained.version)
    version = register(name, SOUND)
    # The champion's own training was of all these items but some.
    rows, spared = rows_of(name, 1, "items"), LEAST_ITEMS - 1
    left = [row for row in rows if row["split"] == TEST_ITEMS][:spared]
    used = [
        {k: v for k, v in row.items() if k != "run_id"}
        | {"split": "test" if row in left else "train", "group_id": row["item_id"]}
        for row in rows
    ]
    write_run_table(lake, "items", run_id, pa.Table.from_pylist(used))
    decision = promote(name, version)
    assert [f.check for f in decision.refused] == [UNSEEN_CHECK]
    assert f"{spared} of " in decision.findings[-1].measured
    assert "Too few items that neither has seen" in decision.findings[-1].explanation
    assert promote(name, version, accept=(UNSEEN_CHECK,), reason="a new task").promoted


def test_a_vector_that_was_rolled_back_from_does_not_come_back(trained: Outcome) -> None:
    name = trained.model_name
    first, second = register(name, SOUND), register(name, SOUND, strength=2.0)
    assert promote(name, first).promoted and promote(name, second).promoted
    rollback(name)
    # Trained again with other evidence: another version, the same vector.
    again = register(name, replace(SOUND, neutral_kl=0.02), strength=2.0)
    for version in (second, again):
        decision = promote(name, version)
        assert [f.check for f in decision.refused] == [ROLLED_BACK_CHECK]
        assert decision.refused[0].measured == f"as version {second}, on {past(name)[-1].day}"
    with pytest.raises(UserError, match="give the reason"):
        promote(name, again, accept=(ROLLED_BACK_CHECK,))
    assert promote(name, again, accept=(ROLLED_BACK_CHECK,), reason="not its fault").promoted
    # It has been champion again, so a rollback to it and a promotion need no reason.
    third = register(name, SOUND, strength=3.0)
    assert promote(name, third).promoted
    assert rollback(name).version == again


def test_a_refused_vector_is_not_judged_again_unless_somebody_asks(trained: Outcome) -> None:
    name = trained.model_name
    version = register(name, replace(SOUND, neutral_kl=0.5))
    assert not promote(name, version, automatic=True).promoted
    mended = register(name, SOUND)  # the same vector, with better evidence
    decision = promote(name, mended, automatic=True)
    assert [f.check for f in decision.refused] == [REFUSED_CHECK] and not decision.promoted
    assert decision.refused[0].measured == f"as version {version}, on {past(name)[-1].day}"
    assert [r.automatic for r in past(name)] == [True, True]
    assert promote(name, mended).promoted and not past(name)[-1].automatic


def test_reconcile_judges_what_was_never_judged(trained: Outcome) -> None:
    """As if the event of each registration had been lost."""
    name, registry = trained.model_name, resources.registry()
    good = register(name, SOUND)
    damaging = register(name, replace(SOUND, neutral_kl=0.5), strength=2.0)
    unread = register(name, SOUND, strength=3.0)
    resources.lake().remove(
        table_address(resources.lake(), "items", resolve(registry, f"{name}:{unread}").run_id)
    )
    decisions = reconcile()
    assert [(d.version, d.promoted) for d in decisions] == [
        (trained.version, False), (good, True), (damaging, False),
    ]  # fmt: skip
    assert [(r.action, r.version, r.automatic) for r in past(name)] == [
        ("refuse", trained.version, True), ("promote", good, True), ("refuse", damaging, True),
    ]  # fmt: skip
    assert find_aliases(registry, name)["champion"] == good
    assert reconcile() == [] and len(past(name)) == 3


def test_reconcile_finishes_what_was_cut_off(
    trained: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, registry = trained.model_name, resources.registry()
    monkeypatch.setattr(lock, "DEAD_AFTER", 0.2)
    dying = Dying(client(registry), writes=2)
    with monkeypatch.context() as patch:
        for module in (promotion, records, lock):
            patch.setattr(module, "client", lambda _: dying)
        with pytest.raises(Died):
            move_alias(registry, name, trained.version)
    assert "champion" not in find_aliases(registry, name)
    assert reconcile() == []
    assert find_aliases(registry, name) == {"champion": trained.version}
    assert [(r.action, r.state) for r in past(name)] == [("promote", "done")]


def test_a_champion_of_another_run_in_between_is_judged_against(
    trained: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another promotion moves the champion while the candidate is judged."""
    name, registry = trained.model_name, resources.registry()
    first, second = register(name, SOUND), register(name, SOUND, strength=2.0)
    judged = []

    def slow(*args: Any) -> Any:
        decision = judge(*args)
        judged.append(decision.replaced)
        if len(judged) == 1:
            move_alias(registry, name, first)
        return decision

    judge = promoting.judge_candidate
    monkeypatch.setattr(promoting, "judge_candidate", slow)
    done = promote(name, second)
    assert judged == [None, first] and done.promoted and done.replaced == first
    assert [f.check for f in done.findings][-2:] == [UNSEEN_CHECK, CHAMPION_CHECK]


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
    asked = held_out_items(outcome.model_name, candidate.version)
    assert correct_answers(asked, rule, vector).mean() == outcome.steered_accuracy
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
    refused, accepted = past(name)
    assert (refused.action, accepted.action) == ("refuse", "promote")
    assert (accepted.accepted, accepted.reason) == (["damaging"], "used in one tool only")
    said = resolve(registry, f"{name}:{version}").tags["Decision"]
    assert said.endswith("although damaging: used in one tool only")


def test_accepting_one_finding_accepts_no_other(trained: Outcome) -> None:
    name = trained.model_name
    version = register(name, replace(SOUND, neutral_kl=0.5, leaked_groups=6))
    decision = promote(name, version, accept=("damage",), reason="known")
    assert [f.check for f in decision.refused] == ["split"] and not decision.promoted


@pytest.fixture
def without_items(trained: Outcome) -> Callable[[int], None]:
    def remove(version: int) -> None:
        run_id = find_candidate(trained.model_name, version).run_id
        resources.lake().remove(f"tables/items/run_id={run_id}.parquet")

    return remove


def test_what_is_not_there_is_said(trained: Outcome, without_items: Callable[[int], None]) -> None:
    name, registry = trained.model_name, resources.registry()
    with pytest.raises(UserError, match="no version 9"):
        promote(name, 9)
    with pytest.raises(UserError, match="pas-nothing"):
        promote("pas-nothing")
    with pytest.raises(UserError, match="previous"):
        rollback(name)
    move_alias(registry, name, trained.version)
    version = register(name, SOUND)
    without_items(version)
    with pytest.raises(UserError, match="the items of version 2 are not in the lake"):
        promote(name)


def test_a_champion_whose_items_are_gone_is_not_compared_with(
    trained: Outcome, without_items: Callable[[int], None]
) -> None:
    name, registry = trained.model_name, resources.registry()
    move_alias(registry, name, trained.version)
    version = register(name, SOUND)
    without_items(1)
    decision = promote(name, version)
    assert [f.check for f in decision.refused] == [UNSEEN_CHECK]
    assert "the items of version 1 are not in the lake" in decision.refused[0].explanation
    assert promote(name, version, accept=("not comparable",), reason="the lake is new").promoted
