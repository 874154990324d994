"""Train: a labelled data set becomes a registered candidate, with its evidence."""

import logging
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

from prefect import flow

from flows.artifacts import publish_training
from flows.events import CandidateRegistered, failure_told
from flows.outcome import Outcome, Stopwatch, findings
from flows.progress import progress_shown
from flows.runners import task_runner
from flows.share import helped
from flows.states import add_to_name
from pas.data.chat import described
from pas.evidence.evaluation import Evaluation, evaluate
from pas.methods.sweep import select_measuring
from pas.reading import mapped
from pas.recipe import Recipe
from storage.lake.stages import read_split
from storage.registry.move import refuse_moved
from storage.settings import settings
from tasks import resources
from tasks.answers import read_answers
from tasks.asking import ask_in_words, asks
from tasks.damage import read_damage
from tasks.estimate import estimate, read_directions
from tasks.evaluate import (
    answer_test_items,
    read_test_answers,
    write_evaluation,
)
from tasks.extract import extract_missing
from tasks.load import load
from tasks.predict import predict
from tasks.record import Trail, record
from tasks.reports.run_page import Cost
from tasks.shares import Share
from tasks.shots import with_worked_examples
from tasks.sweep import read_sweep, share_sweep, sweep

log = logging.getLogger("pas")


class Training(NamedTuple):
    """A training's numbers, all its evidence, and rows (what, measured, note) for people."""

    outcome: Outcome
    evaluation: Evaluation
    findings: list[tuple[str, str, str]]


@flow(
    name="train",
    flow_run_name="train {recipe.label} on {recipe.model.slug}, seed {recipe.seed}",
    task_runner=task_runner(),
)
def train(recipe: Recipe, candidate: bool = True, workers: int = 1) -> Training:
    """Make a steering vector from a labelled data set, with its evidence.

    Every step writes to a content-addressed file in the lake and is skipped where the file exists,
    so a run that was killed continues where it stopped.

    Args:
        recipe: What to train.
        candidate: Register the vector as a candidate and say so in an event, unless a version
            holds this very vector already. A study's trainings are evidence, not candidates:
            they are recorded only.
        workers: Processes that share the extraction and the sweep, this one included; the others
            are runs of the deployment `share`.

    Raises:
        UserError: For a mistake in the recipe, the data or the model, or a home that was moved.
    """
    with failure_told(recipe) if candidate else nullcontext(), helped(workers) as share:
        return training(recipe, candidate, share)


@progress_shown()
def training(recipe: Recipe, candidate: bool = True, share: Share | None = None) -> Training:
    """Load, extract, predict, estimate, sweep, evaluate, record, in a flow; see `train`."""
    watch, lake = Stopwatch(), resources.lake()
    if settings().has_registry:
        refuse_moved(resources.registry())  # before the work, not after it
    with watch.step("load"):
        recipe = mapped(recipe)
        split = load(recipe)
        parts = read_split(lake, split)
        log.info("load: %d train, %d validation, %d test items", *map(len, parts))
        log.info("prompt: %s; %s", *described(resources.chat(recipe)))

    if recipe.shots:
        with watch.step("shots"):
            split = with_worked_examples(recipe, split)
            parts = read_split(lake, split)

    with watch.step("extract"):
        plan = extract_missing(recipe, split, share=share)
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
        estimated = {method for method, _ in read_directions(vectors).norm}
        for method in sorted({*recipe.estimators} - estimated):
            log.warning(
                "estimate: %s is left out. It needs training items that the model answers "
                "correctly and others that it answers wrongly.",
                method,
            )

    with watch.step("sweep"):
        if share is not None:
            share_sweep(recipe, split, vectors, share)
        answers = sweep(recipe, split, vectors)
        swept, measure = read_sweep(recipe, vectors, answers), partial(read_damage, recipe, vectors)
        selection = select_measuring(measure, swept, recipe.protocol, recipe.select, recipe.max_kl)
        selected = selection.selected.configuration
        log.info(
            "sweep: %d configurations; %s, layer %d, strength %g selected",
            len(swept.cells),
            *selected,
        )

    with watch.step("evaluate"):
        tested = answer_test_items(recipe, split, vectors, selection)
        test_answers, asked = read_test_answers(tested, selection), None
        if asks(recipe):
            asked = ask_in_words(recipe, split, vectors, selection)
            test_answers = test_answers._replace(asked=read_answers(asked))
        [damage] = swept.damage_of([selected], measure)
        evaluation = evaluate(
            parts, selection, test_answers, damage, validation=swept.answers, seed=recipe.seed
        )
        write_evaluation(tested, evaluation)

    with watch.step("record"):
        trail = Trail(split, predictions, vectors, answers, tested, asked)
        cost = Cost(watch.read(), plan.total, extracted)
        registration = record(recipe, trail, evaluation, cost, candidate)
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
    # Before anything that may fail: a candidate without its event waits for `reconcile`.
    if outcome.is_new and outcome.version is not None:
        CandidateRegistered(
            outcome.model_name, outcome.version, outcome.verdict, round(outcome.delta, 4)
        ).emit()
    if outcome.version is not None:
        add_to_name(f", version {outcome.version}")
    rows = findings(recipe, evaluation, described(resources.chat(recipe)))
    publish_training(outcome, rows, evaluation.verdict, swept.cells)
    return Training(outcome, evaluation, rows)
