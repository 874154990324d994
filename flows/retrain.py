"""Retrain: what a schedule starts. It trains only if something has changed since a version."""

import logging
from typing import NamedTuple

from prefect import flow

from flows.artifacts import publish_unchanged
from flows.events import CandidateRegistered, failure_told
from flows.runners import task_runner
from flows.share import helped
from flows.states import ended
from flows.train import Training, training
from pas.reading import mapped, take_in
from pas.recipe import Recipe
from storage.registry.origin import ORIGIN_TAG, Origin, read_origin
from storage.registry.promotion import unjudged
from storage.registry.versions import (
    CHAMPION,
    VectorVersion,
    list_versions,
    model_name,
)
from tasks import resources
from tasks.origin import origin_of

log = logging.getLogger("pas")


class Retraining(NamedTuple):
    """What became of asking for a vector again.

    Attributes:
        name: Registered model.
        version: The version that holds the vector.
        changes: What has changed since an earlier version; empty where nothing has.
        training: The training; None where nothing has changed.
    """

    name: str
    version: int | None
    changes: list[str]
    training: Training | None


@flow(
    name="retrain",
    flow_run_name="retrain {recipe.label} on {recipe.model.slug}, seed {recipe.seed}",
    task_runner=task_runner(),
)
def retrain(recipe: Recipe, workers: int = 1) -> Retraining:
    """Train unless a version was made from these very data, model, recipe and code.

    Where nothing has changed it ends without loading the model; a version that was never judged is
    then handed over to promotion again. The state is named "Unchanged" or "Retrained".

    Args:
        recipe: What to train; for data that grow, with the split rule `stable`.
        workers: As for `train`.

    Raises:
        UserError: For a mistake in the recipe, the data or the model.
    """
    with failure_told(recipe):
        taken = take_in(recipe)
        recipe = mapped(recipe, taken)
        origin, name = origin_of(recipe, taken), model_name(recipe.model.slug, recipe.label)
        versions = [v for v in list_versions(resources.registry()) if v.name == name]
        same = next((v for v in versions if v.tags.get(ORIGIN_TAG) == origin.digest), None)
        if same is not None:
            return _unchanged(same)
        changes = _changes(origin, versions)
        for change in changes:
            log.info("retrain: %s", change)
        with helped(workers) as share:
            trained = training(recipe, share=share)
        done = Retraining(name, trained.outcome.version, changes, trained)
        return ended("Retrained", "; ".join(changes), done)


def _unchanged(version: VectorVersion) -> Retraining:
    said = f"nothing changed since version {version.version}"
    log.info("retrain: %s of %s", said, version.name)
    if _never_judged(version):
        log.info("retrain: version %d was never judged; handed over again", version.version)
        CandidateRegistered(
            version.name, version.version, version.verdict or "", float(version.tags["delta"])
        ).emit()
    publish_unchanged(version)
    return ended("Unchanged", said, Retraining(version.name, version.version, [], None))


def _never_judged(version: VectorVersion) -> bool:
    waiting = unjudged(resources.registry())
    return (version.name, version.version) in {(v.name, v.version) for v in waiting}


def _changes(origin: Origin, versions: list[VectorVersion]) -> list[str]:
    """Say what has changed since the champion, else since the newest version."""
    for version in sorted(versions, key=lambda v: CHAMPION not in v.aliases):
        before = read_origin(version.tags)
        if before is not None:
            return origin.changes_since(before)
    if versions:
        return ["no version tells what it was made from"]
    return ["there is no version yet"]
