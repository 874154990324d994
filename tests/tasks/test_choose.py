"""The rules of selection, through a whole training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.train import train
from pas.errors import UserError
from pas.recipe import Recipe
from storage.catalogue.views import query
from tasks import resources
from tests.helpers.data_files import write_toy


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path, home: Path) -> Recipe:
    return Recipe(
        "toy", str(write_toy(tmp_path / "toy.jsonl", 60)), group_col="topic", id_col="id",
        model=str(tiny_folder), layers="1,2", strengths="1,4,16",
    )  # fmt: skip


def swept(run_id: str) -> dict[tuple, dict[str, bool]]:
    """Which validation items each configuration got right."""
    sql = f"SELECT * FROM predictions WHERE split = 'val' AND run_id = '{run_id}'"
    found: dict[tuple, dict[str, bool]] = {}
    for row in query(resources.lake(), sql).to_pylist():
        at = (row["method"], row["layer"], row["strength"])
        found.setdefault(at, {})[row["item_id"]] = row["correct"]
    return found


def norms(run_id: str) -> dict[tuple, float]:
    rows = query(resources.lake(), f"SELECT * FROM vectors WHERE run_id = '{run_id}'").to_pylist()
    return {(r["method"], r["layer"]): r["norm"] for r in rows}


@pytest.mark.parametrize("rule", ["one-se", "least-damage"])
def test_a_gentler_configuration_within_one_error_is_taken(recipe: Recipe, rule: str) -> None:
    best = train(recipe).outcome
    gentle = train(replace(recipe, select=rule)).outcome
    found, norm = swept(best.run_id), norms(best.run_id)
    [unsteered] = [right for at, right in found.items() if at[0] == "none"]
    items = sorted(unsteered)
    as_array = {at: np.array([right[i] for i in items]) for at, right in found.items()}
    own = {at: right for at, right in as_array.items() if at[0] not in ("none", "random")}
    none = as_array[next(at for at in as_array if at[0] == "none")]
    top = max([none.mean(), *(right.mean() for right in own.values())])
    leader = (
        none if none.mean() == top
        else min(
            (at for at in own if own[at].mean() == top),
            key=lambda at: (at[2] * norm[at[:2]], at[1]),
        )
    )  # fmt: skip
    lead = none if leader is none else own[leader]

    def within(right: np.ndarray) -> bool:
        lost = lead.astype(float) - right
        return lost.mean() <= lost.std(ddof=1) / np.sqrt(len(lost)) + 1e-9

    if within(none):
        assert gentle.strength == 0
    elif rule == "one-se":
        least = min(at[2] * norm[at[:2]] for at, right in own.items() if within(right))
        assert gentle.strength * norm[gentle.method, gentle.layer] == pytest.approx(least)
    if gentle.strength:
        assert within(own[gentle.method, gentle.layer, gentle.strength])
    if rule == "one-se":
        effect = best.strength * norm[best.method, best.layer]
        assert gentle.strength * norm[gentle.method, gentle.layer] <= effect


def test_misspelt_choices_are_refused(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="--select median"):
        replace(recipe, select="median")
