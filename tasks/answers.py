"""Answers in the lake: the tables that the sweep and the evaluation leave."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pas.data.examples import Example
from pas.engine.scoring import Query, ScoringRule
from pas.methods.answers import Answers, answer
from pas.methods.grid import Configuration
from pas.methods.strengths import configuration_of
from pas.models.sites import Site
from pas.recipe import Recipe
from pas.steering.vector import SteeringVector
from storage.lake.stages import Stage, stage
from tasks import resources
from tasks.extract import question

VALIDATION, TEST, RESHUFFLED = "val", "test", "reshuffled"
_UNSTEERED = {"method": "none", "layer": None, "strength": 0.0}
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("method", pa.string()),
        ("layer", pa.int16()),
        ("strength", pa.float64()),
        ("condition", pa.string()),
        ("choice", pa.int32()),
        ("label", pa.int32()),
        ("scores", pa.list_(pa.float64())),
    ]
)
"""One row per answer. `condition` tells apart the circumstances under which items are answered."""


def answers_stage(recipe: Recipe, kind: str, split: str, **ingredients: Any) -> Stage:
    """Return where answers to items of a split are stored.

    Args:
        recipe: Whose model answers, scored by its rule.
        kind: Name of the step.
        split: Address of the split.
        **ingredients: What else determines the answers, JSON-able.
    """
    setup = resources.resolved(recipe)
    model, rule = setup.fingerprint, setup.rule.name
    decided_by = resources.decided_by(recipe)
    return stage(
        resources.lake(), kind, model=model, rule=rule, split=split, **decided_by, **ingredients
    )


def answer_items(
    recipe: Recipe,
    examples: Sequence[Example],
    deltas: Sequence[tuple[Configuration, np.ndarray]],
    *,
    normalise: bool,
    site: Site | None = None,
) -> Answers:
    """Answer items with the recipe's model and rule; see `pas.methods.answers.answer`.

    Args:
        recipe: Whose model answers, scored by its rule.
        examples: The items.
        deltas: [d_model] float32 each, strength multiplied in.
        normalise: Letters' scores are log-probabilities over the vocabulary, which takes the
            sweep twice as long.
        site: Where the deltas are added; by default the recipe's.
    """
    queries = [question(recipe, example) for example in examples]
    model = resources.model(recipe.model)
    return answer(
        model,
        examples,
        queries,
        deltas,
        site or recipe.site,
        resources.resolved(recipe).rule,
        normalise=normalise,
        budget=resources.budget(model, queries),
    )


def answer_with(
    vector: SteeringVector, examples: Sequence[Example], queries: Sequence[Query], rule: ScoringRule
) -> Answers:
    """Answer items with a vector's model, unsteered and under the vector's own configuration.

    Args:
        vector: The vector; its strength may be 0.
        examples: The items.
        queries: The same items, tokenised.
        rule: How choices are scored.
    """
    model, at = resources.model(vector.model), configuration_of(vector)
    deltas = [(at, np.float32(at.strength) * vector.direction)] if at.strength else []
    budget = resources.budget(model, queries)
    return answer(model, examples, queries, deltas, vector.site, rule, budget=budget)


def answers_table(answers: Mapping[str, Answers]) -> pa.Table:
    """Return answers by condition as a table."""
    rows = [
        (configuration._asdict() if configuration else _UNSTEERED)
        | {
            "item_id": item,
            "condition": condition,
            "choice": choice,
            "label": label,
            "scores": scores.tolist(),
        }
        for condition, part in answers.items()
        for configuration in part.scores
        for item, choice, label, scores in zip(
            part.item_ids,
            part.choices(configuration).tolist(),
            part.labels.tolist(),
            part.scores_of(configuration),
            strict=True,
        )
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_answers(address: str) -> dict[str, Answers]:
    """Read the answers that an `answers_table` was written from, by condition.

    Raises:
        ValueError: If a configuration's items are not those of the others.
    """
    return _answers_by(resources.lake().read_table(address), "condition")


def run_answers(predictions: pa.Table, items: pa.Table) -> dict[str, Answers]:
    """Read the answers of a run out of its tables `predictions` and `items`, by split.

    Raises:
        ValueError: If a configuration's items are not those of the others.
    """
    label_of = dict(zip(items["item_id"].to_pylist(), items["label"].to_pylist(), strict=True))
    labels = [label_of[item] for item in predictions["item_id"].to_pylist()]
    return _answers_by(predictions.append_column("label", pa.array(labels, pa.int32())), "split")


def _answers_by(table: pa.Table, column: str) -> dict[str, Answers]:
    """Read rows (item_id, label, method, layer, strength, choice, scores), apart by a column."""
    frame = table.drop_columns(["scores"]).to_pandas()
    scores = table["scores"].combine_chunks()
    values, offsets = scores.flatten().to_numpy(), scores.offsets.to_numpy()
    frame["layer"] = frame["layer"].fillna(-1).astype(int)
    answers = {}
    for part_name, rows in frame.groupby(column, sort=False):
        items: tuple[str, ...] = ()
        labels = np.empty(0, np.int64)
        by_configuration: dict[Configuration | None, list[np.ndarray]] = {}
        picked: dict[Configuration | None, np.ndarray] = {}
        for key, part in rows.groupby(["method", "layer", "strength"], sort=False):
            ids = tuple(part["item_id"])
            if items and ids != items:
                raise ValueError(f"{key} does not answer the items of the other configurations")
            items, labels = ids, part["label"].to_numpy(np.int64)
            method, layer, strength = key
            steered = method != _UNSTEERED["method"]
            configuration = Configuration(method, int(layer), float(strength)) if steered else None
            by_configuration[configuration] = [
                values[offsets[i] : offsets[i + 1]] for i in part.index
            ]
            picked[configuration] = part["choice"].to_numpy(np.int64)
        answers[str(part_name)] = Answers(items, labels, by_configuration, picked)
    return answers
