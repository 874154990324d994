"""The choice among a sweep's cells: the best, or one that is as good and does less.

The best of some hundred cells owes part of its lead to chance, and steers as strongly as it takes
to have that lead. A validation split of n items does not tell it from cells that are one standard
error worse, so the gentlest of these may be taken instead: the one-standard-error rule of Breiman,
Friedman, Olshen & Stone 1984 (Classification and Regression Trees, section 3.4.3), which was made
for the size of trees. docs/method.md, "Selection".

The error here is that of the difference on the same items, where theirs is that of the best
accuracy alone. On real sweeps without a clear gain the two choose about as well. Where a gain is
real but no larger than the plain error, which is common on some hundred items, the plain error
gives most of the gain up and the paired one little.

Under the `sound` protocol no rule takes a configuration that damages neutral text beyond a limit.
Damage costs a pass over the text, so it is measured for the cells that would be taken, best first.
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
    from pas.methods.answers import Answers  # imports torch, which a recipe does without

Rule = Literal["best", "one-se", "least-damage"]
Correct = Mapping[Configuration, np.ndarray]
"""For each configuration bool [n_items]: which validation items it answers correctly."""
Damage = Callable[[Sequence[Configuration]], Sequence[float]]
"""KL divergence on neutral text of each configuration, nats per token (`pas.evidence.damage`)."""

MAX_KL = 0.1
"""Largest damage to neutral text, nats per token. At 0.1 the perplexity of the model's own text
grows by a tenth."""
MOST_CANDIDATES = 24  # each costs a pass over the neutral text
_ROUNDING = 1e-12


class Guard(NamedTuple):
    """Refuses configurations that damage neutral text.

    Attributes:
        damage: Measures configurations.
        max_kl: Largest divergence that is accepted, nats per token.
    """

    damage: Damage
    max_kl: float


class Selection(NamedTuple):
    """What validation chose.

    Attributes:
        selected: The cell that goes on to the test items.
        methods: Each estimator's own choice.
    """

    selected: Cell
    methods: dict[str, Cell]

    @property
    def configurations(self) -> list[Configuration]:
        """The chosen configurations, each once, sorted."""
        return sorted({c.configuration for c in (self.selected, *self.methods.values())})


def rule_named(asked: str) -> Rule:
    """Read `--select`.

    Raises:
        UserError: If there is no such rule.
    """
    for rule in get_args(Rule):
        if rule == asked:
            return rule  # type: ignore[no-any-return]
    raise UserError(f"--select {asked}: give {', '.join(get_args(Rule))}")


def count(
    answers: "Answers", directions: Directions, configurations: Sequence[Configuration]
) -> list[Cell]:
    """Count the correct answers of every configuration.

    Args:
        answers: To the validation items.
        directions: Of the training, for the size of what is added.
        configurations: Of the grid; those of strength 0 have the unsteered model's answers.
    """
    n = len(answers.item_ids)
    return [
        Cell(at, n, int(answers.correct(at).sum()), directions.effect(at)) for at in configurations
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
    """Choose for each estimator, and among all of them.

    Args:
        cells: Of the sweep.
        protocol: `paper` takes the published tie rule and looks at no damage.
        rule: See `select`.
        answers: To the validation items; the rules other than "best" compare with them.
        damage: Measures configurations; without it none is refused.
        max_kl: Largest divergence on neutral text, nats per token; None for no limit.

    Raises:
        UserError: If every configuration damages neutral text beyond the limit.
        ValueError: If a rule lacks what it needs.
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
    # Of the best ones the best; the gentler rules compare with the best cell of all.
    selected = choice(list(methods.values()) if rule == "best" else cells)
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
    """Return the cell to use; the random control is never chosen.

    "best" is the highest validation accuracy. Equal cells: `paper` takes the highest layer, then
    the lowest strength; `sound` the smallest effect, so that not steering beats steering that
    gains nothing. "one-se" is the smallest effect among the cells that `within_one_error` leaves,
    and "least-damage" the smallest damage among the `candidates`.

    To choose among several methods give the cells of all of them: a choice among what was chosen
    of each would give away one standard error twice.

    Args:
        cells: Of the sweep; some not of the random control.
        protocol: How "best" ranks equal cells; the other rules compare with that best cell.
        rule: Which one.
        correct: What the other rules compare with: the answers of every cell, or of more.
        damage: For "least-damage".
        guard: Cells that it refuses are passed over.

    Raises:
        UserError: If the guard refuses every cell.
        ValueError: If a rule lacks what it needs, or every cell is of the random control.
    """
    if rule == "best":
        return _first_accepted(_ranked(cells, protocol), guard)
    if correct is None or (rule == "least-damage" and damage is None):
        raise ValueError(f"the rule {rule!r} needs more than counts: see `select`")
    best = _first_accepted(_ranked(cells, protocol), guard)
    if rule == "one-se":
        near = within_one_error(cells, best, correct)
        return _first_accepted(sorted(near, key=_gentleness), guard, otherwise=best)
    assert damage is not None
    gentle = candidates(cells, best, correct)
    # What adds nothing does no harm, and no pass is needed to know it.
    measured = iter(damage([cell.configuration for cell in gentle if cell.effect]))
    harm = [next(measured) if cell.effect else 0.0 for cell in gentle]
    return gentle[int(np.argmin(harm))]  # of equal ones the first, which is the gentlest


def candidates(
    cells: Sequence[Cell], best: Cell, correct: Correct, most: int = MOST_CANDIDATES
) -> list[Cell]:
    """Return the cells whose damage is worth measuring, the smallest effect first.

    They are within one standard error of the best. Along one direction and to one side the damage
    grows with the strength, so of each (method, layer, sign) only the weakest is left. Where one
    cell adds nothing it is left alone, since nothing does less damage.
    """
    weakest: dict[tuple[str, int, bool], Cell] = {}
    for cell in sorted(within_one_error(cells, best, correct), key=_gentleness):
        if not cell.effect:
            return [cell]
        weakest.setdefault(_ray(cell.configuration), cell)
    return list(weakest.values())[:most]


def within_one_error(cells: Sequence[Cell], best: Cell, correct: Correct) -> list[Cell]:
    """Return the cells no more than one standard error worse than the best, itself among them.

    The error is of the mean paired difference, its variance taken over n - 1; with that a cell that
    is right wherever the best is but on one item is exactly one error below it, and is within.
    """
    of_best = np.asarray(correct[best.configuration], dtype=bool)
    within = []
    for cell in _estimated(cells):
        other = np.asarray(correct[cell.configuration], dtype=bool)
        if other.shape != of_best.shape:
            at = cell.configuration
            raise ValueError(f"{at} has answers to {other.size} items, the best {of_best.size}")
        difference = of_best.astype(float) - other
        spread = float(difference.std(ddof=1)) if difference.size > 1 else 0.0
        error = spread / sqrt(difference.size)
        if difference.mean() <= error + _ROUNDING:
            within.append(cell)
    return within


def _first_accepted(
    ranked: Sequence[Cell], guard: Guard | None, otherwise: Cell | None = None
) -> Cell:
    """Return the first cell that the guard accepts, measuring no more than it takes.

    Along one direction and to one side the damage grows with the strength, so what is stronger
    than a refused configuration is refused without a measurement.
    """
    if guard is None:
        return ranked[0]
    refused: dict[tuple[str, int, bool], float] = {}

    def is_open(cell: Cell) -> bool:
        at = cell.configuration
        return abs(at.strength) < refused.get(_ray(at), inf)

    todo, width = list(ranked), 1
    while todo := [cell for cell in todo if is_open(cell)]:
        # More at a time the longer it takes: a pass of many shares the unsteered model's part.
        batch, todo = todo[:width], todo[width:]
        width *= 2
        measured = iter(guard.damage([c.configuration for c in batch if c.effect]))
        for cell in batch:
            kl = next(measured) if cell.effect else 0.0
            if kl <= guard.max_kl:
                return cell
            strength, ray = abs(cell.configuration.strength), _ray(cell.configuration)
            refused[ray] = min(strength, refused.get(ray, inf))
    if otherwise is not None:  # accepted before, although a weaker one damages more
        return otherwise
    raise UserError(
        f"--max-kl {guard.max_kl:g}: every configuration of the sweep damages neutral text more "
        "than that. Give smaller --strengths, or --max-kl none for no limit."
    )


def _ray(at: Configuration) -> tuple[str, int, bool]:
    return at.method, at.layer, at.strength > 0


def _ranked(cells: Sequence[Cell], protocol: Protocol) -> list[Cell]:
    """Return the estimators' cells, the best first."""

    def rank(cell: Cell) -> tuple[float, ...]:
        at = cell.configuration
        if protocol == "paper":
            return (-cell.correct / cell.n, -at.layer, at.strength)
        return (-cell.correct / cell.n, cell.effect, at.layer)

    ranked = sorted(_estimated(cells), key=rank)
    if not ranked:
        raise ValueError("every cell is of the random control")
    return ranked


def _estimated(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.configuration.method != RANDOM]


def _gentleness(cell: Cell) -> tuple[float, ...]:
    """The smallest effect first; of equal ones the most accurate, then the lowest layer."""
    return (cell.effect, -cell.correct / cell.n, cell.configuration.layer)
