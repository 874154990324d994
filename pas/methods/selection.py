"""Selection of one cell of a sweep: the most accurate, or a gentler one that is about as good.

docs/method.md, "Selection". Among several hundred cells, the best one is ahead partly by chance,
and may steer more strongly than necessary. The validation items cannot distinguish it from cells
that are up to one standard error worse, so the gentlest of these may be selected instead. This is
the one-standard-error rule of Breiman, Friedman, Olshen & Stone 1984 (Classification and Regression
Trees, section 3.4.3).

The original rule uses the standard error of the best accuracy. The rules here use that of the
paired difference on the same items. On real sweeps without a clear gain, both choose about equally
well. If a gain is real but no larger than the plain error, which is common with some hundred items,
the plain error loses most of the gain and the paired error loses little.

Under the `sound` protocol, no rule selects a configuration whose damage to neutral text exceeds a
limit. Measuring damage needs passes over the text, so it is measured only for the cells that would
be selected, the best first.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from pas.data.splits import Protocol
from pas.errors import UserError
from pas.methods.contrast import RANDOM
from pas.methods.grid import Cell, Configuration, Directions

if TYPE_CHECKING:
    from pas.methods.answers import Answers  # imports torch, which a recipe does not need

Rule = Literal["best", "one-se", "least-damage"]
Correct = Mapping[Configuration, np.ndarray]
"""For each configuration [n_items] bool: the validation items that are answered correctly."""
Damage = Callable[[Sequence[Configuration]], Sequence[float]]
"""Returns each configuration's KL divergence on neutral text in nats per token, see
`pas.evidence.damage`."""

MAX_KL = 0.1
"""Largest damage to neutral text, in nats per token. At 0.1 the perplexity of the model's own text
grows by about a tenth."""
MOST_CANDIDATES = 24  # each one needs a pass over the neutral text
_ROUNDING = 1e-12


class Guard(NamedTuple):
    """Refuses configurations that damage neutral text.

    Attributes:
        damage: Measures the damage of configurations.
        max_kl: Largest divergence that is accepted, in nats per token.
    """

    damage: Damage
    max_kl: float


class Selection(NamedTuple):
    """The cells selected on the validation items.

    Attributes:
        selected: The cell to test.
        methods: The cell selected among those of each estimator.
    """

    selected: Cell
    methods: dict[str, Cell]

    @property
    def configurations(self) -> list[Configuration]:
        """The distinct selected configurations, sorted."""
        return sorted({c.configuration for c in (self.selected, *self.methods.values())})


def rule_named(name: str) -> Rule:
    """Return the rule of a name, as given by `--select`.

    Raises:
        UserError: If there is no such rule.
    """
    for rule in get_args(Rule):
        if rule == name:
            return rule  # type: ignore[no-any-return]
    raise UserError(f"--select {name}: give {', '.join(get_args(Rule))}")


def count(
    answers: "Answers", directions: Directions, configurations: Sequence[Configuration]
) -> list[Cell]:
    """Count the correct answers of every configuration.

    Args:
        answers: Answers to the validation items.
        directions: The training's directions, for the norm of what is added.
        configurations: The configurations of the grid. Those of strength 0 have the answers of
            the unsteered model.

    Returns:
        One cell per configuration, in the same order.

    Raises:
        LookupError: If there are no answers under a configuration.
    """
    n = len(answers.item_ids)
    return [
        Cell(c, n, int(answers.correct(c).sum()), directions.effect(c), answers.undecided(c))
        for c in configurations
    ]


def choose(
    cells: Sequence[Cell],
    protocol: Protocol,
    rule: Rule = "best",
    *,
    answers: "Answers | None" = None,
    damage: Damage | None = None,
    max_kl: float | None = MAX_KL,
) -> Selection:
    """Select a cell for each estimator, and one among all of them.

    Args:
        cells: The cells of the sweep.
        protocol: `paper` uses the published tie rule and has no limit on damage.
        rule: See `select`.
        answers: Answers to the validation items, for the rules other than "best".
        damage: Measures the damage of configurations; None for no limit on damage.
        max_kl: Largest divergence on neutral text, in nats per token; None for no limit.

    Raises:
        UserError: If the damage of every configuration exceeds the limit, or all are broken.
        ValueError: If the rule needs `answers` or `damage`, and it is not given.
    """
    guard = None
    if damage is not None and max_kl is not None and protocol != "paper":
        guard = Guard(damage, max_kl)
    correct = (
        {c.configuration: answers.correct(c.configuration) for c in cells} if answers else None
    )

    def choice(among: Sequence[Cell]) -> Cell:
        return select(among, protocol, rule, correct=correct, damage=damage, guard=guard)

    methods = {
        method: choice([c for c in cells if c.configuration.method == method])
        for method in dict.fromkeys(c.configuration.method for c in _estimated(cells))
    }
    # "best" is the best of the methods' cells. The other rules compare with the best cell of all.
    selected = choice(list(methods.values()) if rule == "best" and methods else cells)
    return Selection(selected, methods)


def select(
    cells: Sequence[Cell],
    protocol: Protocol,
    rule: Rule = "best",
    *,
    correct: Correct | None = None,
    damage: Damage | None = None,
    guard: Guard | None = None,
) -> Cell:
    """Return the selected cell. The random control and broken configurations are never selected.

    "best" is the cell with the highest validation accuracy. Among equal cells, `paper` selects the
    highest layer, then the lowest strength. `sound` selects the smallest effect, so that steering
    without a gain is not selected. "one-se" is the cell with the smallest effect among those of
    `within_one_error`. "least-damage" is the one with the smallest damage among `candidates`.

    To select among several methods, give the cells of all of them. Selecting among cells that were
    selected for each method would allow a loss of one standard error twice.

    Args:
        cells: The cells of the sweep, not only of the random control.
        protocol: How "best" ranks equal cells. The other rules compare with that best cell.
        rule: "best", "one-se" or "least-damage".
        correct: The correct answers of every cell, for the rules other than "best".
        damage: Measures damage, for "least-damage".
        guard: Cells that it refuses are not selected.

    Raises:
        UserError: If the guard refuses every cell, or all are broken.
        ValueError: If the rule needs `correct` or `damage`, and it is not given, or if all cells
            are of the random control.
    """
    if rule == "best":
        return _first_accepted(_ranked(cells, protocol), guard)
    if correct is None or (rule == "least-damage" and damage is None):
        raise ValueError(
            f"the rule {rule!r} needs more than counts: give the answers, and damage for "
            "least-damage"
        )
    best = _first_accepted(_ranked(cells, protocol), guard)
    if rule == "one-se":
        near = within_one_error(cells, best, correct)
        return _first_accepted(sorted(near, key=_gentleness), guard, otherwise=best)
    assert damage is not None
    gentle = candidates(cells, best, correct)
    # The damage of a cell that adds nothing is 0 and is not measured.
    measured = iter(damage([cell.configuration for cell in gentle if cell.effect]))
    harm = [next(measured) if cell.effect else 0.0 for cell in gentle]
    if not np.isfinite(harm).any():
        return best
    return gentle[int(np.nanargmin(harm))]  # the first of equal ones has the smallest effect


def candidates(
    cells: Sequence[Cell], best: Cell, correct: Correct, most: int = MOST_CANDIDATES
) -> list[Cell]:
    """Return the cells whose damage is measured, the smallest effect first.

    They are within one standard error of the best. Damage grows with strength along one direction,
    so only the weakest cell of each method, layer and sign is returned. If a cell adds nothing, it
    is the only candidate, because no damage is smaller.

    Args:
        cells: The cells of the sweep.
        best: The most accurate cell.
        correct: The correct answers of every cell.
        most: Largest number of candidates.
    """
    weakest: dict[tuple[str, int, bool], Cell] = {}
    for cell in sorted(within_one_error(cells, best, correct), key=_gentleness):
        if not cell.effect:
            return [cell]
        weakest.setdefault(_ray(cell.configuration), cell)
    return list(weakest.values())[:most]


def within_one_error(cells: Sequence[Cell], best: Cell, correct: Correct) -> list[Cell]:
    """Return the cells that are at most one standard error worse than the best, and the best.

    The standard error is that of the mean paired difference, with n - 1 in the variance. A cell
    that differs from the best by one wrong answer is exactly one standard error worse and is
    returned.

    Raises:
        ValueError: If a cell has answers to another number of items than the best.
    """
    of_best = np.asarray(correct[best.configuration], dtype=bool)
    within = []
    for cell in _estimated(cells):
        other = np.asarray(correct[cell.configuration], dtype=bool)
        if other.shape != of_best.shape:
            raise ValueError(
                f"{cell.configuration} has answers to {other.size} items, the best {of_best.size}"
            )
        difference = of_best.astype(float) - other
        deviation = float(difference.std(ddof=1)) if difference.size > 1 else 0.0
        error = deviation / sqrt(difference.size)
        if difference.mean() <= error + _ROUNDING:
            within.append(cell)
    return within


def _first_accepted(
    ranked: Sequence[Cell], guard: Guard | None, otherwise: Cell | None = None
) -> Cell:
    """Return the first cell that the guard accepts, with as few measurements as possible.

    Damage grows with strength along one direction, so configurations that are stronger than a
    refused one are refused without a measurement.
    """
    if guard is None:
        return ranked[0]
    refused: dict[tuple[str, int, bool], float] = {}

    def is_open(cell: Cell) -> bool:
        configuration = cell.configuration
        return abs(configuration.strength) < refused.get(_ray(configuration), inf)

    todo, width = list(ranked), 1
    while todo := [cell for cell in todo if is_open(cell)]:
        # The batches grow, because the configurations of a batch share the unsteered pass.
        batch, todo = todo[:width], todo[width:]
        width *= 2
        measured = iter(guard.damage([c.configuration for c in batch if c.effect]))
        for cell in batch:
            kl = next(measured) if cell.effect else 0.0
            if kl <= guard.max_kl:
                return cell
            strength, ray = abs(cell.configuration.strength), _ray(cell.configuration)
            refused[ray] = min(strength, refused.get(ray, inf))
    if otherwise is not None:  # accepted before, although a weaker one does more damage
        return otherwise
    raise UserError(
        f"--max-kl {guard.max_kl:g}: every configuration of the sweep does more damage to neutral "
        "text. Give smaller strengths (--strengths), or --max-kl none for no limit."
    )


def _ray(configuration: Configuration) -> tuple[str, int, bool]:
    return configuration.method, configuration.layer, configuration.strength > 0


def _ranked(cells: Sequence[Cell], protocol: Protocol) -> list[Cell]:
    """Return the estimators' cells, the best first."""

    def rank(cell: Cell) -> tuple[float, ...]:
        _, layer, strength = cell.configuration
        if protocol == "paper":
            return (-cell.correct / cell.n, -layer, strength)
        return (-cell.correct / cell.n, cell.effect, layer)

    ranked = sorted(_estimated(cells), key=rank)
    if ranked:
        return ranked
    broken = [cell for cell in cells if cell.undecided and cell.configuration.method != RANDOM]
    if not broken:
        raise ValueError("there is no cell but those of the random control")
    method, layer, strength = broken[0].configuration
    raise UserError(
        f"--strengths: all {len(broken)} configurations of the sweep have scores that are not "
        f"finite, the first is {method} at layer {layer}, strength {strength:g}. Give smaller "
        "strengths, or load the model with dtype bfloat16 or float32."
    )


def _estimated(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that can be selected: of estimators, and not broken."""
    return [c for c in cells if c.configuration.method != RANDOM and not c.undecided]


def _gentleness(cell: Cell) -> tuple[float, ...]:
    """Return a sort key: the smallest effect, then the most accurate, then the lowest layer."""
    return (cell.effect, -cell.correct / cell.n, cell.configuration.layer)
