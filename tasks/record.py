"""Record: a training's tables in the lake, its MLflow run, and the vector as a candidate."""

from statistics import fmean
from typing import Any, NamedTuple

import pyarrow as pa
from prefect import task
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_UI_ENABLED

from pas.data.chat import Chat
from pas.data.prompts import full_prompt, user_text
from pas.data.splits import SPLITS, Split
from pas.evidence.evaluation import Evaluation
from pas.evidence.testing import ModelReference, vector_of
from pas.methods.answers import Answers
from pas.methods.sweep import Sweep
from pas.recipe import Recipe
from storage.catalogue.holding import shards_holding
from storage.http import without_credentials
from storage.lake.lineage import code_digest, versions
from storage.lake.stages import data_digest, read_split, skipped_rows
from storage.lake.tables import write_run_table
from storage.registry.links import run_page
from storage.registry.runs import (
    REPORT_FOLDER,
    Registration,
    TrainingData,
    TrainingRecord,
    log_training,
    open_run,
    run_tags,
)
from storage.registry.versions import VERDICT_TAG, model_name
from storage.settings import settings
from tasks import resources
from tasks.answers import TEST, VALIDATION, read_answers
from tasks.estimate import contrast_weights
from tasks.evaluate import as_rows
from tasks.origin import origin_of_split
from tasks.reports.command import run_facts
from tasks.reports.notes import notes
from tasks.reports.page import report_file
from tasks.reports.run_figures import run_figures
from tasks.reports.run_page import Cost, RunReport
from tasks.reports.run_page import run_page as report_page
from tasks.sweep import read_sweep


class Trail(NamedTuple):
    """Lake addresses of a training's intermediate results; `asking` if the recipe asks in words."""

    split: str
    predictions: str
    vectors: str
    sweep: str
    evaluation: str
    asking: str | None


@task(name="record", task_run_name="record {recipe.task}", retries=2, retry_delay_seconds=[1, 10])
def record(
    recipe: Recipe,
    trail: Trail,
    evaluation: Evaluation,
    cost: Cost,
    candidate: bool = True,
) -> Registration:
    """Write the run tables, log the run and register the vector with the alias `candidate`.

    The run's report is stored among its artifacts and as `runs/<run id>.html` in the home. A vector
    that is no candidate is stored among the artifacts only; no version is made.
    """
    lake = resources.lake()
    parts, setup = read_split(lake, trail.split), resources.resolved(recipe)
    chat, first = resources.chat(recipe), parts.test[0]
    swept = read_sweep(recipe, trail.vectors, trail.sweep)
    tested = read_answers(trail.evaluation)[TEST]
    tables = run_tables(trail, parts, swept, tested, chat) | {
        "evaluations": pa.Table.from_pylist(as_rows(evaluation))
    }
    with open_run(
        resources.registry(),
        experiment=settings().experiment,
        run_name=f"{recipe.label}-{recipe.protocol}-seed{recipe.seed}",
        tags={
            VERDICT_TAG: evaluation.verdict.label,
            "task": recipe.task,
            "model": recipe.model.slug,
            "protocol": recipe.protocol,
            **run_tags("pas train", settings().creator),
        },
        seconds=cost.seconds["total"],
    ) as run_id:
        for table_name, table in tables.items():
            write_run_table(lake, table_name, run_id, table)
        lineage = _lineage(recipe, trail) | {"verdict": evaluation.verdict.as_dict()}
        facts = run_facts(run_id, lineage)
        page = report_file(run_id)
        page.parent.mkdir(parents=True, exist_ok=True)
        report = RunReport(
            recipe, evaluation, swept.cells, tested, parts, cost, facts, setup.rule, chat
        )
        page.write_text(report_page(report), encoding="utf-8")
        vector = vector_of(
            ModelReference(
                recipe.model,
                setup.fingerprint,
                resources.model_info(recipe.model).architecture,
            ),
            swept,
            evaluation,
            recipe.task,
            protocol=recipe.protocol,
            seed=recipe.seed,
            **({} if recipe.benchmark else {"mapping": recipe.mapping.given()}),
        )
        name = model_name(recipe.model.slug, recipe.label)
        links = {
            "Report": run_page(resources.registry(), run_id, f"{REPORT_FOLDER}/{page.name}"),
            # A command's own server has no pages.
            "Flow run in Prefect": without_credentials(str(flow_run.ui_url))
            if PREFECT_API_URL.value() and PREFECT_UI_ENABLED.value()
            else None,
        }
        training = TrainingRecord(
            vector,
            TrainingData(recipe.task, _source(recipe), _digest(trail), tables["items"]),
            # Serving puts it into the chat template.
            user_text(first, setup.rule.kind) if chat else full_prompt(first, setup.rule.kind),
            name,
            _version_tags(recipe, evaluation) | origin_of_split(recipe, trail.split).tags
            if candidate
            else None,
            params=recipe.as_dict() | {"rule": setup.rule.name},
            metrics=metrics(evaluation) | {f"seconds/{k}": v for k, v in cost.seconds.items()},
            tables={k: v for k, v in tables.items() if k != "vectors"},
            figures=run_figures(evaluation, swept.cells),
            pages=[page],
            lineage=lineage,
            notes=notes(recipe, evaluation, vector, name, links),
        )
        return log_training(resources.registry(), run_id, training)


def metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the run's metrics, each under the split that it was measured on."""
    test, controls, letters = evaluation.test, evaluation.controls, evaluation.letters
    reshuffled, random = controls.reshuffled, controls.random_accuracies
    values: dict[str, float | None] = {
        "test/accuracy_unsteered": test.baseline_accuracy,
        "test/accuracy_steered": test.steered_accuracy,
        "test/gain": test.delta,
        "test/gain_low": test.ci_low,
        "test/gain_high": test.ci_high,
        "test/p_value": test.p_value,
        "test/items": test.n,
        "test/wrong_to_right": test.w2r,
        "test/right_to_wrong": test.r2w,
        "test/gain_reshuffled": reshuffled.delta if reshuffled else None,
        "test/accuracy_constant_letter": controls.constant_accuracy if letters else None,
        "test/accuracy_random_mean": fmean(random) if random else None,
        "test/accuracy_random_max": max(random, default=None),
        "test/outside_letters_unsteered": controls.outside_before,
        "test/outside_letters_steered": controls.outside_after,
        "test/leaked_groups": controls.leaked_groups,
        "validation/accuracy_unsteered": evaluation.validation_unsteered,
        "validation/accuracy_steered": evaluation.validation_accuracy,
        "damage/kl": evaluation.damage.kl,
        "vector/strength": controls.strength,
    }
    for one in controls.asking:
        name = one.way.replace(" ", "_")
        values[f"test/accuracy_asked_{name}"] = one.asked.steered_accuracy
        values[f"test/accuracy_asked_{name}_and_steered"] = one.both.steered_accuracy
    values |= {f"test/gain_{name}": m.comparison.delta for name, m in evaluation.methods.items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def run_tables(
    trail: Trail, parts: Split, swept: Sweep, tested: Answers, chat: Chat | None
) -> dict[str, pa.Table]:
    """Return the run's tables by name, without their run id and without the evaluations."""
    lake = resources.lake()
    train = lake.read_table(trail.predictions)
    answered = dict(zip(train["item_id"].to_pylist(), train["choice"].to_pylist(), strict=True))
    for answers in (swept.answers, tested):
        answered |= zip(answers.item_ids, answers.choices().tolist(), strict=True)
    items = [
        {
            "item_id": e.id,
            "split": split,
            "prompt": full_prompt(e, swept.rule.kind, chat),
            "choices": list(e.choices),
            "label": e.label,
            "n_choices": len(e.choices),
            "group_id": e.group,
            "baseline_choice": answered[e.id],
        }
        for split, part in zip(SPLITS, parts, strict=True)
        for e in part
    ]
    sweeps = [
        c.configuration._asdict() | {"n": c.n, "correct": c.correct, "accuracy": c.correct / c.n}
        for c in swept.cells
    ]
    return {
        "items": pa.Table.from_pylist(items),
        "predictions": _predictions(trail),
        "sweeps": pa.Table.from_pylist(sweeps),
        "vectors": lake.read_table(trail.vectors),
    }


def _predictions(trail: Trail) -> pa.Table:
    """Return the validation answers of the sweep and the test answers, controls left out."""
    parts = []
    for address, split in ((trail.sweep, VALIDATION), (trail.evaluation, TEST)):
        table = resources.lake().read_table(address)
        table = table.filter(pa.compute.equal(table["condition"], split))
        correct = pa.compute.equal(table["choice"], table["label"])
        splits = pa.array([split] * table.num_rows, pa.string())
        table = table.append_column("correct", correct).append_column("split", splits)
        parts.append(table.drop_columns(["condition", "label"]))
    return pa.concat_tables(parts)


def _version_tags(recipe: Recipe, evaluation: Evaluation) -> dict[str, Any]:
    test, selected = evaluation.test, evaluation.selected
    return {
        VERDICT_TAG: evaluation.verdict.label,
        "task": recipe.task,
        "model": recipe.model.slug,
        "protocol": recipe.protocol,
        "scoring": resources.resolved(recipe).rule.name,
        "prompt": resources.resolved(recipe).rule.prompt.kind,
        "method": selected.method,
        "layer": selected.layer,
        "strength": f"{selected.strength:g}",
        "site": recipe.site,
        "baseline_accuracy": f"{test.baseline_accuracy:.4f}",
        "steered_accuracy": f"{test.steered_accuracy:.4f}",
        "delta": f"{test.delta:+.4f}",
        "p_value": f"{test.p_value:.3g}",
        "n_test": test.n,
        "damage_kl": f"{evaluation.damage.kl:.4f}",
    }


def _lineage(recipe: Recipe, trail: Trail) -> dict[str, Any]:
    lake, fingerprint = resources.lake(), resources.resolved(recipe).fingerprint
    weights = contrast_weights(recipe, trail.split, trail.predictions)
    keys = weights["prompt_key"].to_pylist()
    return {
        "recipe": recipe.as_dict(),
        "model_fingerprint": fingerprint,
        "data_digest": _digest(trail),
        "skipped_rows": skipped_rows(lake, trail.split),
        "stages": {stage: at for stage, at in trail._asdict().items() if at is not None},
        "shards": shards_holding(lake, fingerprint, recipe.site, keys),
        "lake": lake.name,
        "code_digest": code_digest(),
        "versions": versions(),
    }


def _digest(trail: Trail) -> str:
    return data_digest(resources.lake(), trail.split)


def _source(recipe: Recipe) -> str:
    return str(recipe.source.name) if _has_source(recipe) else recipe.data.name or "generated"


def _has_source(recipe: Recipe) -> bool:
    return recipe.benchmark is None or recipe.benchmark.generate is None
