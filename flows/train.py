"""Train: a labelled data set becomes a registered candidate, with its evidence."""

import logging
from typing import NamedTuple

from prefect import flow
from prefect.events import emit_event
from prefect.task_runners import ThreadPoolTaskRunner

from flows.artifacts import publish_training
from flows.outcome import Outcome, Stopwatch, findings
from pas.evidence.evaluation import Evaluation
from pas.methods.grid import grid
from pas.methods.selection import count
from pas.recipe import Recipe
from storage.lake.stages import read_split
from tasks import resources
from tasks.answers import VALIDATION, read_answers
from tasks.choose import choose
from tasks.damage import damage_meter
from tasks.estimate import estimate
from tasks.evaluate import (
    answer_test_items,
    evaluation_address,
    read_evaluation,
    write_evaluation,
)
from tasks.extract import extract_missing
from tasks.load import load
from tasks.predict import predict
from tasks.record import Trail, record
from tasks.reports.run_page import Cost
from tasks.scorable import check_scorable
from tasks.shots import with_worked_examples
from tasks.sweep import read_directions, sweep

log = logging.getLogger("pas")
# Prefect adds its handler to our logger but leaves it at the root's level, which hides these lines.
log.setLevel(logging.INFO)
REGISTERED = "pas.candidate.registered"


class Training(NamedTuple):
    """A training's numbers, all its evidence, and rows (what, measured, note) for people."""

    outcome: Outcome
    evaluation: Evaluation
    findings: list[tuple[str, str, str]]


# Two shards in flight: one is written while the model runs the next.
@flow(name="train", task_runner=ThreadPoolTaskRunner(max_workers=2))  # type: ignore[arg-type]
def train(recipe: Recipe, candidate: bool = True) -> Training:
    """Load, extract, predict, estimate, sweep, evaluate, record.

    Every step writes to a content-addressed file in the lake and is skipped where the file exists,
    so a run that was killed continues where it stopped.

    Args:
        recipe: What to train.
        candidate: Register the vector as a candidate and say so in an event, unless a version
            holds this very vector already. A study's trainings are evidence, not candidates:
            they are recorded only.

    Raises:
        UserError: For a mistake in the recipe, the data or the model.
    """
    watch, lake = Stopwatch(), resources.lake()
    with watch.step("load"):
        split = load(recipe)
        parts = read_split(lake, split)
        check_scorable(recipe, parts)
        log.info("load: %d train, %d validation, %d test items", *map(len, parts))

    if recipe.shots:
        with watch.step("shots"):
            split = with_worked_examples(recipe, split)
            parts = read_split(lake, split)

    with watch.step("extract"):
        plan = extract_missing(recipe, split)
        extracted = plan.total - plan.cached
        log.info(
            "extract: %d prompts, %d cached, %d run; %d items answered",
            plan.total,
            plan.cached,
            extracted,
            plan.unanswered,
        )

    with watch.step("predict"):
        predictions = predict(recipe, split)

    with watch.step("estimate"):
        vectors = estimate(recipe, split, predictions)
        directions = read_directions(vectors)
        for method in sorted({*recipe.estimators} - {method for method, _ in directions.norm}):
            log.warning(
                "estimate: %s is left out. It needs training items that the model answers "
                "correctly and others that it answers wrongly.",
                method,
            )

    with watch.step("sweep"):
        swept = sweep(recipe, split, vectors)
        answers = read_answers(swept)[VALIDATION]
        cells = count(answers, directions, grid(directions, resources.resolved(recipe).strengths))
        selection = choose(recipe, cells, answers, vectors)
        selected = selection.selected.configuration
        log.info("sweep: %d configurations, %s selected", len(cells), selected)

    with watch.step("evaluate"):
        tested = answer_test_items(recipe, split, vectors, selection)
        [damage] = damage_meter(recipe, vectors)([selected])
        evaluation = read_evaluation(recipe, parts, selection, damage, swept=swept, tested=tested)
        write_evaluation(evaluation_address(tested), evaluation)

    with watch.step("record"):
        trail = Trail(split, predictions, vectors, swept, tested)
        cost = Cost(watch.read(), plan.total, extracted)
        registration = record(recipe, trail, cells, evaluation, cost, candidate)
        if candidate and not registration.is_new:
            log.info(
                "record: version %s of %s has this very vector; no new version was registered",
                registration.version,
                registration.model_name,
            )

    test = evaluation.test
    outcome = Outcome(
        *registration,
        **selected._asdict(),
        baseline_accuracy=test.baseline_accuracy,
        steered_accuracy=test.steered_accuracy,
        delta=test.delta,
        p_value=test.p_value,
        verdict=evaluation.verdict.label,
        prompts_total=plan.total,
        prompts_extracted=extracted,
        prompts_cached=plan.cached,
        seconds=watch.read(),
    )
    # Before anything that may fail: a candidate without its event is never judged.
    if outcome.is_new:
        emit_event(
            event=REGISTERED,
            resource={"prefect.resource.id": f"pas.vector.{outcome.model_name}"},
            payload={
                "name": outcome.model_name,
                "version": outcome.version,
                "delta": outcome.delta,
            },
        )
    rows = findings(recipe, evaluation)
    publish_training(outcome, rows, evaluation.verdict, cells)
    return Training(outcome, evaluation, rows)
