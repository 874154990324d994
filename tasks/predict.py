"""Predict: what the unsteered model answers on the training items, put together from the lake."""

import numpy as np
import pyarrow as pa

from pas.data.examples import ItemAnswer
from pas.data.splits import Split
from pas.engine.decisions import UNDECIDED, decide, not_finite
from pas.engine.scoring import canonical, query_key
from pas.recipe import Recipe
from storage.lake.answers import read_answers
from storage.lake.stages import Stage, read_split
from tasks import resources
from tasks.answers import answers_stage
from tasks.caching import step
from tasks.extract import question


def predictions_stage(recipe: Recipe, split: str) -> Stage:
    """Return where the predictions of a split's training items are stored."""
    return answers_stage(recipe, "predictions", split)


@step("predict", address=predictions_stage)
def predict(recipe: Recipe, split: str) -> pa.Table:
    """Collect the answers that extraction left: rows (item_id, choice, scores).

    Args:
        recipe: The training.
        split: Address of its split.

    Raises:
        LookupError: If an item has not been answered.
        UserError: If a score is not finite.
    """
    lake, setup = resources.lake(), resources.resolved(recipe)
    train = read_split(lake, split).train
    asked = [question(recipe, e) for e in train]
    keys = [query_key(setup.fingerprint, q) for q in asked]
    found = read_answers(lake, setup.fingerprint, setup.rule.name, keys)
    if len(found) < len(set(keys)):
        lacking = len(set(keys)) - len(found)
        raise LookupError(f"{lacking} of {len(train)} training items have no answer in the lake")
    scores = []
    for key, item in zip(keys, asked, strict=True):
        shown = np.empty(len(found[key]))
        shown[canonical(item)] = found[key]
        scores.append(shown)
    ids = [e.id for e in train]
    picked = decide(scores, ids, setup.rule.ties)
    if (picked == UNDECIDED).any():
        raise not_finite(f"the unsteered scores of item {ids[int(picked.argmin())]!r}")
    return pa.table(
        {
            "item_id": ids,
            "choice": picked,
            "scores": [shown.tolist() for shown in scores],
        }
    )


def answered(parts: Split, address: str) -> list[ItemAnswer]:
    """Join the training items with their predictions."""
    table = resources.lake().read_table(address)
    picked = dict(zip(table["item_id"].to_pylist(), table["choice"].to_pylist(), strict=True))
    return [ItemAnswer(example, picked[example.id]) for example in parts.train]
