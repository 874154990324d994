"""Promote: judge a candidate against the gates, and the champion on the candidate's own items."""

from typing import NamedTuple

import numpy as np
import torch
from prefect import task

from pas.engine.prefix import Steering
from pas.engine.scoring import ScoringRule, prepare
from pas.engine.sweep import score_rows
from pas.errors import UserError
from pas.evidence.gates import Evidence, Gate, Thresholds, judge
from pas.evidence.paired import Comparison
from pas.steering.vector import SteeringVector
from storage.lake.tables import table_address
from storage.registry.promotion import Promotion, promote, rollback
from storage.registry.versions import VectorVersion, load_vector, resolve
from storage.settings import settings
from tasks import resources


class Verdict(NamedTuple):
    """What was decided of a candidate.

    Attributes:
        name: Registration model.
        version: The candidate's version.
        promoted: Whether it is the champion now by this decision.
        unchanged: Whether it is, or holds the very vector of, the champion already.
        replaced: The version that was champion before.
        gates: Each gate with its numbers.
    """

    name: str
    version: int
    promoted: bool
    unchanged: bool
    replaced: int | None
    gates: list[Gate]


def find_candidate(name: str, version: int | None) -> VectorVersion:
    """Return the version asked for, or the candidate.

    Raises:
        UserError: If there is no such model, version or candidate.
    """
    reference = f"{name}@candidate" if version is None else f"{name}:{version}"
    return resolve(resources.registry(), reference)


def find_champion(name: str) -> VectorVersion | None:
    """Return the champion, or None where there is none."""
    found = resolve(resources.registry(), name)
    return found if "champion" in found.aliases else None


def evidence_of(vector: SteeringVector) -> Evidence:
    """Return the evidence that a vector carries.

    Raises:
        UserError: If it carries none, as one made by hand does.
    """
    try:
        kept = dict(vector.provenance["evidence"])
        kept["test"] = Comparison(**kept["test"])
        for name in ("random_accuracies", "faults"):
            kept[name] = tuple(kept.get(name, ()))
        return Evidence(**kept)
    except (KeyError, TypeError) as error:
        raise UserError("the vector carries no evidence; train it with pas train") from error


def accuracy_on_items_of(
    candidate: VectorVersion, rule: ScoringRule, vector: SteeringVector
) -> float:
    """Return a vector's accuracy on the test items of a candidate's run.

    Raises:
        UserError: If the lake no longer holds those items.
    """
    lake = resources.lake()
    address = table_address(lake, "items", candidate.run_id)
    if not lake.exists(address):
        raise UserError(
            f"{candidate.name}: the test items of version {candidate.version} are not in the lake "
            f"{lake.url}. Set PAS_LAKE to the lake it was trained with, or train it again."
        )
    items = [row for row in lake.read_table(address).to_pylist() if row["split"] == "test"]
    model = resources.model(vector.model)
    ready = [prepare(model.info, i["prompt"], i["choices"], i["label"], rule) for i in items]
    row = Steering(vector.layer, torch.from_numpy(np.float32(vector.strength) * vector.direction))
    scores = score_rows(
        model, ready, [row], vector.site,
        length_norm=rule.length_norm, budget=resources.budget(model, ready),
    )  # fmt: skip
    picked = [int(np.argmax(s[1].numpy())) for s in scores]
    return float(np.mean([p == i["label"] for p, i in zip(picked, items, strict=True)]))


@task(name="judge")
def judge_candidate(name: str, version: int | None, thresholds: Thresholds) -> Verdict:
    """Apply the gates to a candidate; nothing is changed.

    Raises:
        UserError: If there is no such candidate, or what is needed to judge it is gone.
    """
    registry = resources.registry()
    candidate = find_candidate(name, version)
    vector = load_vector(registry, candidate)
    evidence = evidence_of(vector)
    champion, accuracy, same = find_champion(name), None, False
    if champion is not None:
        held = load_vector(registry, champion)
        same = (held.layer, held.site, held.strength) == (
            vector.layer, vector.site, vector.strength
        ) and np.array_equal(held.direction, vector.direction)  # fmt: skip
        if not same:
            rule = ScoringRule(**vector.provenance["rule"])
            accuracy = accuracy_on_items_of(candidate, rule, held)
    gates = judge(evidence, accuracy, thresholds)
    replaced = champion.version if champion else None
    return Verdict(name, candidate.version, False, same, replaced, gates)


@task(name="move-aliases", retries=2, retry_delay_seconds=[1, 10])
def apply(verdict: Verdict) -> Verdict:
    """Make the candidate champion if every gate passed and it is not champion already."""
    if verdict.unchanged or not all(gate.passed for gate in verdict.gates):
        return verdict
    gates = [gate._asdict() for gate in verdict.gates]
    done = promote(resources.registry(), verdict.name, verdict.version, gates)
    return verdict._replace(promoted=True, replaced=done.replaced)


@task(name="roll-back")
def roll_back(name: str) -> Promotion:
    """Let champion and previous change places.

    Raises:
        UserError: If there is no such model or no previous champion.
    """
    return rollback(resources.registry(), name)


def thresholds() -> Thresholds:
    """Return the gates' thresholds from the settings."""
    return Thresholds(settings().min_delta, settings().alpha, settings().max_kl)
