"""Evaluate: the chosen vectors and their controls on the test items, once."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from pas.data.splits import Split, order_choices
from pas.evidence.damage import Damage
from pas.evidence.gates import Evidence, faults_of
from pas.evidence.letters import best_constant, outside_share, position_counts
from pas.evidence.paired import Comparison, compare
from pas.evidence.verdict import Verdict
from pas.methods.contrast import RANDOM, random_direction
from pas.methods.grid import Cell, Configuration
from pas.recipe import Recipe
from storage.lake.stages import read_split, stage_address
from tasks import resources
from tasks.caching import step
from tasks.judge import judge
from tasks.sweep import PREDICTIONS, UNSTEERED, Directions, read_directions, score_configurations

RANDOM_DRAWS = 10
TEST, RESHUFFLED = "test", "reshuffled"


class Report(NamedTuple):
    """What the test split says.

    Attributes:
        selected: The configuration that validation chose.
        validation_accuracy: Its accuracy there.
        evidence: What the gates read.
        methods: Each estimator's own best configuration and its test comparison.
        random: Comparison of each random direction of the winner's norm.
        reshuffled: The winner with the choices in another order; None under choice scoring.
        positions_before: How often each shown position was answered unsteered.
        positions_after: And by the winner.
        constant_position: The position that is right most often.
        leaked_groups: Groups of the test split that the training split shares.
        damage: What the winner does to neutral text.
        outside: Share of the answers' probability outside the letters, unsteered and steered;
            None under choice scoring.
        verdict: Whether the gain is real, and every check.
    """

    selected: Configuration
    validation_accuracy: float
    evidence: Evidence
    methods: dict[str, tuple[Configuration, Comparison]]
    random: list[Comparison]
    reshuffled: Comparison | None
    positions_before: list[int]
    positions_after: list[int]
    constant_position: int | None
    leaked_groups: int
    damage: Damage
    outside: tuple[float, float] | None
    verdict: Verdict


def evaluation_address(recipe: Recipe, sweep_result: str) -> str:
    """Return where the test predictions lie, or will."""
    return stage_address(
        resources.lake(), "evaluations", sweep_result, recipe.protocol, recipe.seed,
        recipe.estimators, RANDOM_DRAWS, recipe.select,
    )  # fmt: skip


def _deltas(
    best: dict[str, Cell], directions: Directions
) -> list[tuple[Configuration, np.ndarray]]:
    wanted = dict.fromkeys(cell.configuration for cell in best.values())
    return [
        (at, np.float32(at.strength) * directions.direction[at.method, at.layer])
        for at in wanted
        if at.strength
    ]


@step("evaluate")
def evaluate(
    recipe: Recipe, split_address: str, vectors: str, best: dict[str, Cell], address: str
) -> str:
    """Answer the test items under the chosen configurations and the controls.

    Conditions at `address`: "test" (unsteered and each method's best), "random-<i>" (directions
    of the winner's norm at its layer), and under letter scoring "reshuffled" (the winner, with
    the choices in an order that no earlier step has seen).
    """
    lake, directions = resources.lake(), read_directions(vectors)
    test = read_split(lake, split_address).test
    deltas = _deltas(best, directions)
    winner = best["selected"]
    at = winner.configuration
    draws = range(RANDOM_DRAWS if at.strength else 0)
    sign = 1.0 if at.strength > 0 else -1.0
    controls = [
        (
            Configuration(RANDOM, at.layer, at.strength),
            random_direction(
                resources.model_info(recipe.spec).d_model, sign * winner.effect,
                f"test:{recipe.seed}:{draw}",
            ),
        )
        for draw in draws
    ]  # fmt: skip
    rows = score_configurations(recipe, test, deltas + controls, TEST)
    per_item = 1 + len(deltas) + len(controls)
    for index, row in enumerate(rows):
        draw = index % per_item - 1 - len(deltas)
        if draw >= 0:
            row["condition"] = f"{RANDOM}-{draw}"
    if recipe.rule.kind == "letter":
        other = tuple(order_choices(e, f"{RESHUFFLED}:{recipe.seed}", "sound") for e in test)
        chosen = [(config, delta) for config, delta in deltas if config == at]
        rows += score_configurations(recipe, other, chosen, RESHUFFLED)
    return lake.write_table(address, pa.Table.from_pylist(rows, schema=PREDICTIONS))


def report(
    recipe: Recipe, parts: Split, best: dict[str, Cell], address: str, damage: Damage
) -> Report:
    """Turn test predictions, and the winner's damage to neutral text, into evidence."""
    table = resources.lake().read_table(address).to_pandas()
    table["correct"] = table["choice"] == table["label"]
    winner = best["selected"]
    at = winner.configuration
    methods = {
        method: (cell.configuration, _compare(table, TEST, cell.configuration))
        for method, cell in best.items()
        if method != "selected"
    }
    test = _compare(table, TEST, at)
    conditions = sorted(c for c in table["condition"].unique() if c.startswith(RANDOM))
    unsteered = _rows(table, TEST, None)["correct"].to_numpy()
    random = [
        compare(unsteered, table[table["condition"] == c]["correct"].to_numpy(), recipe.seed)
        for c in conditions
    ]
    letters = recipe.rule.kind == "letter"
    reshuffled = _compare(table, RESHUFFLED, at) if letters else None
    before, after = _rows(table, TEST, None), _rows(table, TEST, at)
    position, constant = best_constant(before["label"].tolist())
    n_choices = max(len(e.choices) for e in parts.test)
    leaked = len({e.group for e in parts.test} & {e.group for e in parts.train})
    accuracies = tuple(r.steered_accuracy for r in random)
    other = _rows(table, RESHUFFLED, None)["label"].tolist()
    outside = None
    if letters:
        outside = outside_share(before["scores"].tolist()), outside_share(after["scores"].tolist())
    found = judge(
        parts.test, before, after, test, at.strength, letters, reshuffled, other, accuracies,
        leaked, damage.kl, outside,
    )  # fmt: skip
    return Report(
        selected=at,
        validation_accuracy=winner.correct / winner.n,
        evidence=Evidence(
            test, at.strength, accuracies,
            constant if letters else None, reshuffled.delta if reshuffled else None,
            faults_of(found), damage.kl,
        ),
        methods=methods,
        random=random,
        reshuffled=reshuffled,
        positions_before=position_counts(before["choice"].tolist(), n_choices),
        positions_after=position_counts(after["choice"].tolist(), n_choices),
        constant_position=position if letters else None,
        leaked_groups=leaked,
        damage=damage,
        outside=outside,
        verdict=found,
    )  # fmt: skip


def _rows(table: pd.DataFrame, condition: str, at: Configuration | None) -> pd.DataFrame:
    """Return one condition's rows of a configuration; of the unsteered model for strength 0."""
    rows = table[table["condition"] == condition]
    if at is None or not at.strength:
        return rows[rows["method"] == UNSTEERED]
    return rows[
        (rows["method"] == at.method)
        & (rows["layer"] == at.layer)
        & (rows["strength"] == at.strength)
    ]


def _compare(table: pd.DataFrame, condition: str, at: Configuration) -> Comparison:
    before, after = _rows(table, condition, None), _rows(table, condition, at)
    if before["item_id"].tolist() != after["item_id"].tolist():
        raise RuntimeError(f"the predictions of {at} do not cover the unsteered model's items")
    return compare(before["correct"].to_numpy(), after["correct"].to_numpy())


def as_rows(value: Report) -> list[dict[str, Any]]:
    """Return the rows of the run table `evaluations`."""
    found = [
        _evaluation(at, comparison, at == value.selected, "none")
        for at, comparison in value.methods.values()
    ]
    control = Configuration(RANDOM, value.selected.layer, value.selected.strength)
    found += [_evaluation(control, comparison, False, "random") for comparison in value.random]
    if value.reshuffled:
        found.append(_evaluation(value.selected, value.reshuffled, False, "reshuffled"))
    return found


def _evaluation(
    at: Configuration, comparison: Comparison, selected: bool, control: str
) -> dict[str, Any]:
    row = at._asdict() | comparison.as_dict()
    return row | {"split": "test", "selected": selected, "control": control}
