"""Evaluate: the chosen vectors and their controls on the test items, once."""

import json
from functools import partial
from typing import Any

import pyarrow as pa

from pas.evidence.evaluation import RANDOM_DRAWS, Evaluation, EvaluationAnswers, answer_test
from pas.evidence.paired import Comparison
from pas.methods.contrast import RANDOM
from pas.methods.grid import Configuration
from pas.methods.selection import Selection
from pas.recipe import Recipe
from storage.lake.stages import Stage, read_split
from tasks import resources
from tasks.answers import (
    RESHUFFLED,
    TEST,
    answer_items,
    answers_stage,
    answers_table,
    read_answers,
)
from tasks.caching import step
from tasks.estimate import read_directions


def evaluation_stage(recipe: Recipe, split: str, vectors: str, selection: Selection) -> Stage:
    """Return where the answers to the test items are stored."""
    return answers_stage(
        recipe,
        "evaluations",
        split,
        vectors=vectors,
        protocol=recipe.protocol,
        seed=recipe.seed,
        random_directions=RANDOM_DRAWS,
        selected=selection.selected.configuration,
        configurations=selection.configurations,
    )


@step("answer-test-items", address=evaluation_stage)
def answer_test_items(recipe: Recipe, split: str, vectors: str, selection: Selection) -> pa.Table:
    """Answer the test items under the chosen configurations and the controls.

    Conditions: "test" (unsteered and each chosen configuration), "random-<i>" (directions of the
    winner's norm at its layer), and under letter scoring "reshuffled" (the winner, with the
    choices in an order that no earlier step has seen).
    """
    answers = answer_test(
        partial(answer_items, recipe, normalise=True),
        read_split(resources.lake(), split).test,
        read_directions(vectors),
        selection,
        letters=resources.resolved(recipe).rule.kind == "letter",
        seed=recipe.seed,
    )
    conditions = {TEST: answers.chosen}
    conditions |= {f"{RANDOM}-{draw}": part for draw, part in enumerate(answers.random)}
    if answers.reshuffled is not None:
        conditions[RESHUFFLED] = answers.reshuffled
    return answers_table(conditions)


def read_test_answers(tested: str, selection: Selection) -> EvaluationAnswers:
    """Read what `answer_test_items` wrote."""
    conditions = read_answers(tested)
    return EvaluationAnswers(
        chosen=conditions[TEST],
        random=tuple(
            conditions[f"{RANDOM}-{draw}"]
            for draw in range(RANDOM_DRAWS if selection.selected.configuration.strength else 0)
        ),
        reshuffled=conditions.get(RESHUFFLED),
    )


def write_evaluation(tested: str, evaluation: Evaluation) -> None:
    """Keep the evaluation as a JSON document in the lake, beside the test answers."""
    text = json.dumps(evaluation.as_dict(), indent=1, allow_nan=False)
    resources.lake().write_text(tested.replace(".parquet", ".json"), text + "\n")


def as_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of the run table `evaluations`."""
    selected = evaluation.selected
    rows = [
        _row(method.configuration, method.comparison, method.configuration == selected, "none")
        for method in evaluation.methods.values()
    ]
    control = Configuration(RANDOM, selected.layer, selected.strength)
    rows += [_row(control, comparison, False, "random") for comparison in evaluation.random]
    if evaluation.controls.reshuffled:
        rows.append(_row(selected, evaluation.controls.reshuffled, False, "reshuffled"))
    return rows


def _row(at: Configuration, comparison: Comparison, selected: bool, control: str) -> dict[str, Any]:
    row = at._asdict() | comparison.as_dict()
    return row | {"split": "test", "selected": selected, "control": control}
