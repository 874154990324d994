"""The rules of selection, through a whole training."""

from pathlib import Path

import numpy as np
import pytest

from flows.outcome import Outcome
from flows.train import train
from pas.errors import UserError
from pas.methods.grid import Configuration
from pas.recipe import Recipe
from storage.catalogue.views import query
from tasks import resources
from tests.helpers.recipes import toy

pytestmark = pytest.mark.server


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path, home: Path) -> Recipe:
    return toy(tmp_path, tiny_folder, strengths="1,4,16")


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
    gentle = train(recipe.but(select=rule)).outcome
    norm = norms(best.run_id)
    rows = swept(best.run_id)
    items = sorted(next(iter(rows.values())))
    answers = {
        key: np.array([right[item] for item in items], float)
        for key, right in rows.items()
        if key[0] != "random"
    }
    [unsteered] = (key for key in answers if key[0] == "none")
    # Not steering is a candidate like the others, and of no effect.
    effect = {key: key[2] * norm.get(key[:2], 0.0) for key in answers}
    leader = min(answers, key=lambda key: (-answers[key].mean(), effect[key], key[1] or 0))
    lost = {key: answers[leader] - right for key, right in answers.items()}
    within = {
        key
        for key, loss in lost.items()
        if loss.mean() <= loss.std(ddof=1) / np.sqrt(len(items)) + 1e-9
    }
    assert {leader} < within < answers.keys(), "there is something to choose, and not all of it"

    def key_of(outcome: Outcome) -> tuple:
        return (outcome.method, outcome.layer, outcome.strength) if outcome.strength else unsteered

    assert key_of(best) == leader and key_of(gentle) in within
    # Damage grows along a direction, so either rule takes the weakest of its direction.
    rivals = {"one-se": within, "least-damage": {k for k in within if k[:2] == key_of(gentle)[:2]}}
    assert effect[key_of(gentle)] == pytest.approx(min(effect[key] for key in rivals[rule]))


def selected(recipe: Recipe) -> tuple[Configuration, dict[Configuration, float]]:
    """Train; return what was selected, and the damage of all that was measured."""
    outcome = train(recipe).outcome
    lake = resources.lake()
    damage = {
        Configuration(row["method"], row["layer"], row["strength"]): row["kl"]
        for address in lake.list("stages/damage")
        for row in lake.read_table(address).to_pylist()
    }
    return Configuration(outcome.method, outcome.layer, outcome.strength), damage


def test_a_configuration_that_damages_is_not_selected(recipe: Recipe) -> None:
    free, damage = selected(recipe.but(max_kl=None))
    assert damage[free] > 1  # the tiny model is easily broken
    limit = 0.9 * damage[free]
    chosen, damage = selected(recipe.but(max_kl=limit))
    assert chosen != free
    assert damage.get(chosen, 0.0) <= limit
    [best] = query(
        resources.lake(), "SELECT max(accuracy) AS accuracy FROM sweeps WHERE strength <> 0"
    ).to_pylist()
    accuracy = {
        Configuration(row["method"], row["layer"], row["strength"]): row["accuracy"]
        for row in query(resources.lake(), "SELECT * FROM sweeps").to_pylist()
    }
    # Best accuracy first: whatever is better than the choice was measured and damages more, or
    # is stronger than something that does.
    assert best["accuracy"] >= accuracy[chosen]
    refused = [at for at, kl in damage.items() if kl > limit]
    for at, value in accuracy.items():
        if at.method != "random" and value > accuracy[chosen]:
            assert any(r[:2] == at[:2] and abs(r.strength) <= abs(at.strength) for r in refused), at


def test_a_second_training_measures_no_damage_again(recipe: Recipe) -> None:
    recipe = recipe.but(max_kl=0.1)
    first = selected(recipe)
    files = resources.lake().list("stages/damage")
    assert selected(recipe) == first
    assert resources.lake().list("stages/damage") == files


def test_misspelt_choices_are_refused(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="--select median"):
        recipe.but(select="median")
