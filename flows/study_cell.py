"""One cell of a study, as a flow of its own: in the study's process, or on a worker."""

import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from prefect import flow

from flows.finetune import finetune
from flows.train import Training, train
from pas.errors import UserError
from pas.evidence.paired import Comparison
from pas.reading import mapped
from pas.recipe import Recipe
from pas.study.plan import StudyCell
from pas.study.results import StudyResult
from tasks import resources
from tasks.forget import forget
from tasks.results import read_result, result_stage, write_result


@flow(
    name="study-cell",
    flow_run_name="{cell.setting} {cell.recipe.label}, seed {cell.recipe.seed}",
)
def study_cell(cell: StudyCell) -> StudyResult:
    """Run a cell and keep its result in the lake; an existing result is returned unchanged.

    Args:
        cell: From `pas.study.plan.cells`.

    Raises:
        UserError: For a mistake in the recipe, the data or the model.
    """
    target = mapped(cell.target) if cell.target else None
    cell = replace(cell, recipe=mapped(cell.recipe), target=target)
    where = result_stage(cell)
    kept = read_result(where)
    if kept is not None:
        return kept
    began = time.perf_counter()
    result = _forgotten(cell, began) if cell.target else _trained(cell, began)
    write_result(where, result)
    return result


def blank(cell: StudyCell, failed: str = "") -> StudyResult:
    """Return a cell's result before anything is measured."""
    recipe = cell.recipe
    category = recipe.benchmark.category if recipe.benchmark else "own"
    return StudyResult(
        recipe.model.id, recipe.task, category, recipe.seed, cell.setting, cell.variant, failed
    )


def _trained(cell: StudyCell, began: float) -> StudyResult:
    recipe = cell.recipe
    if cell.tuning is not None:
        recipe = _on(finetune(recipe, cell.tuning), recipe)
    trained = train(recipe, candidate=False)
    return _result(cell, recipe, trained, time.perf_counter() - began)


def _on(folder: Path, recipe: Recipe) -> Recipe:
    """Return the recipe for a model in a local folder, which has no hub revision."""
    return recipe.but(model=str(folder), revision=None)


def _forgotten(cell: StudyCell, began: float) -> StudyResult:
    assert cell.target is not None
    trained = read_result(result_stage(StudyCell("main", "", cell.recipe)))
    if trained is None:
        raise UserError("the training of the vector has no result; see why that cell failed")
    found = forget(cell.recipe, trained, cell.target, cell.strengths)
    return replace(
        blank(cell),
        method=trained.method,
        layer=trained.layer,
        strength=trained.strength,
        **_counts(found.comparison),
        neutral_kl=found.neutral_kl,
        curve=found.curve,
        seconds=time.perf_counter() - began,
        run_id=trained.run_id,
        fingerprint=trained.fingerprint,
    )


def _counts(test: Comparison) -> dict[str, Any]:
    """Return what a cell's result keeps of a comparison."""
    names = ("baseline_accuracy", "steered_accuracy", "w2r", "r2w", "p_value")
    return {"n_test": test.n} | {name: getattr(test, name) for name in names}


def _result(cell: StudyCell, recipe: Recipe, trained: Training, seconds: float) -> StudyResult:
    outcome, evaluation = trained.outcome, trained.evaluation
    accuracies = evaluation.controls.random_accuracies
    return replace(
        blank(cell),
        verdict=evaluation.verdict.label,
        explanation=evaluation.verdict.explanation,
        method=outcome.method,
        layer=outcome.layer,
        strength=outcome.strength,
        **_counts(evaluation.test),
        random_accuracy=fmean(accuracies) if accuracies else None,
        neutral_kl=evaluation.damage.kl,
        method_deltas={
            name: method.comparison.delta for name, method in evaluation.methods.items()
        },
        seconds=seconds,
        run_id=outcome.run_id,
        fingerprint=resources.resolved(recipe).fingerprint,
    )
