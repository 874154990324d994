"""Train: a labelled data set becomes a registered candidate, with its evidence."""

import logging
from typing import NamedTuple

from prefect import flow
from prefect.events import emit_event
from prefect.task_runners import ThreadPoolTaskRunner

from flows.artifacts import publish_training
from flows.outcome import Outcome, Stopwatch, findings
from pas.recipe import Recipe
from storage.lake.stages import read_split
from tasks import resources
from tasks.caching import filling
from tasks.choose import choose
from tasks.damage import damage_address, measure_damage, read_damage
from tasks.estimate import contrast_weights, estimate, vectors_address
from tasks.evaluate import Report, evaluate, evaluation_address, report
from tasks.extract import extract_missing
from tasks.load import load
from tasks.predict import predict, predictions_address
from tasks.record import Trail, record
from tasks.reports.run_page import Cost
from tasks.shots import shown
from tasks.sweep import cells, sweep, sweep_address

log = logging.getLogger("pas")
# Prefect adds its handler to our logger but leaves it at the root's level, which hides these lines.
log.setLevel(logging.INFO)
REGISTERED = "pas.candidate.registered"


class Training(NamedTuple):
    """A training's numbers, all its evidence, and rows (what, measured, note) for people."""

    outcome: Outcome
    report: Report
    findings: list[tuple[str, str, str]]


# Two shards in flight: one is written while the model runs the next.
@flow(name="train", task_runner=ThreadPoolTaskRunner(max_workers=2))  # type: ignore[arg-type]
def train(recipe: Recipe, candidate: bool = True) -> Training:
    """Load, extract, predict, estimate, sweep, evaluate, record.

    Every step fills a content-addressed place in the lake and is skipped where that is filled, so
    a run that was killed goes on where it stopped.

    Args:
        recipe: What to train.
        candidate: Register the vector as a candidate and say so in an event, unless a version
            holds this very vector already. A study's trainings are evidence and no candidates, so
            they are recorded only.

    Raises:
        UserError: For whatever the user has to mend.
    """
    watch, lake = Stopwatch(), resources.lake()
    with watch.step("load"):
        split_at = load(recipe)
        parts = read_split(lake, split_at)
        log.info("load: %d train, %d validation, %d test items", *map(len, parts))

    if recipe.shots:
        with watch.step("shots"):
            split_at = shown(recipe, split_at)
            parts = read_split(lake, split_at)

    with watch.step("extract"):
        plan = extract_missing(recipe, split_at)
        extracted = plan.total - plan.cached
        log.info(
            "extract: %d prompts, %d cached, %d run; %d items answered",
            plan.total, plan.cached, extracted, plan.unanswered,
        )  # fmt: skip

    with watch.step("predict"):
        predicted_at = predictions_address(recipe, split_at)
        filling(predict, lake, predicted_at)(recipe, split_at, predicted_at)

    with watch.step("estimate"):
        weights = contrast_weights(recipe, split_at, predicted_at)
        for method in sorted({*recipe.estimators} - {*weights["method"].to_pylist()}):
            log.warning(
                "estimate: %s is left out: it needs training items that the model answers rightly "
                "and others that it answers wrongly", method,
            )  # fmt: skip
        vectors_at = vectors_address(recipe, weights)
        filling(estimate, lake, vectors_at)(recipe, split_at, predicted_at, vectors_at)

    with watch.step("sweep"):
        swept_at = sweep_address(recipe, split_at, vectors_at)
        filling(sweep, lake, swept_at)(recipe, split_at, vectors_at, swept_at)
        swept = cells(recipe, swept_at, vectors_at)
        best = choose(recipe, swept, swept_at, vectors_at)
        log.info("sweep: %d configurations, %s won", len(swept), best["selected"].configuration)

    with watch.step("evaluate"):
        tested_at = evaluation_address(recipe, swept_at)
        filling(evaluate, lake, tested_at)(recipe, split_at, vectors_at, best, tested_at)
        damaged_at = damage_address(recipe, vectors_at, best)
        filling(measure_damage, lake, damaged_at)(recipe, vectors_at, best, damaged_at)
        harm = read_damage(damaged_at)[best["selected"].configuration]
        found = report(recipe, parts, best, tested_at, harm)

    with watch.step("record"):
        trail = Trail(split_at, predicted_at, vectors_at, swept_at, tested_at)
        cost = Cost(watch.read(), plan.total, extracted)
        registered = record(recipe, trail, swept, found, cost, candidate)
        if candidate and not registered.is_new:
            log.info(
                "record: version %s of %s has this very vector; no new version was registered",
                registered.version, registered.model_name,
            )  # fmt: skip

    test = found.evidence.test
    outcome = Outcome(
        *registered,
        **found.selected._asdict(),
        baseline_accuracy=test.baseline_accuracy,
        steered_accuracy=test.steered_accuracy,
        delta=test.delta,
        p_value=test.p_value,
        verdict=found.verdict.label,
        prompts_total=plan.total,
        prompts_extracted=extracted,
        prompts_cached=plan.cached,
        seconds=watch.read(),
    )
    rows = findings(recipe, found)
    publish_training(outcome, rows, swept)
    if outcome.is_new:
        emit_event(
            event=REGISTERED,
            resource={"prefect.resource.id": f"pas.steering.vector.{outcome.model_name}"},
            payload={
                "name": outcome.model_name,
                "version": outcome.version,
                "delta": outcome.delta,
            },
        )
    return Training(outcome, found, rows)
