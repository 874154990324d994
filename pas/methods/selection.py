"""The choice among a sweep's cells: the best, or what is as good and does less.

The best of some hundred cells owes part of its lead to chance, and steers as strongly as it takes
to have that lead. A validation split of n items does not tell it from cells that are one standard
error worse, so these may be taken instead, the gentlest of them: the one-standard-error rule of
Breiman, Friedman, Olshen & Stone 1984 (Classification and Regression Trees, section 3.4.3), which
was made for the size of trees. METHOD.md, "Pipeline", step 5, is the rule "best".

The error here is that of the difference on the same items, where theirs is that of the best
accuracy alone. On real sweeps without a clear gain the two choose about as well; where a gain is
real but no larger than the plain error, as on some hundred items it often is, the plain error gives
most of it up and the paired one little.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Literal, get_args

import numpy as np

from pas.data.splits import Protocol
from pas.errors import UserError
from pas.methods.contrast import RANDOM
from pas.methods.grid import Cell, Configuration

Rule = Literal["best", "one-se", "least-damage"]
Correct = Mapping[Configuration, np.ndarray]
"""For each configuration bool [n_items]: which validation items it got right, in one order."""
Damage = Callable[[Configuration], float]
"""KL divergence on neutral text, nats a token: see `pas.evidence.damage`."""

MOST_CANDIDATES = 24  # each costs a pass over the neutral text
_ROUNDING = 1e-12


def rule_named(asked: str) -> Rule:
    """Read `--select`.

    Raises:
        UserError: If there is no such rule.
    """
    for rule in get_args(Rule):
        if rule == asked:
            return rule  # type: ignore[no-any-return]
    raise UserError(f"--select {asked}: give {', '.join(get_args(Rule))}")


def select(
    cells: Sequence[Cell],
    protocol: Protocol,
    rule: Rule = "best",
    *,
    correct: Correct | None = None,
    damage: Damage | None = None,
) -> Cell:
    """Return the cell to use; the random control is never chosen.

    "best" is the highest validation accuracy. Equal cells: `paper` takes the highest layer, then
    the lowest strength; `sound` the smallest effect, so that not steering beats steering for
    nothing. "one-se" is the smallest effect among the cells that `within_one_error` leaves, and
    "least-damage" the smallest damage among the `candidates`.

    To choose among several methods give the cells of all of them: a choice among what was chosen
    of each would give away one standard error twice.

    Args:
        cells: Of the sweep; some not of the random control.
        protocol: How "best" parts equal cells; the other rules compare with that best cell.
        rule: Which one.
        correct: What the other rules compare with: the answers of every cell, or of more.
        damage: For "least-damage"; called once for each candidate that changes anything.

    Raises:
        ValueError: If a rule lacks what it needs, or every cell is of the random control.
    """
    if rule == "best":
        return _best(cells, protocol)
    if correct is None or (rule == "least-damage" and damage is None):
        raise ValueError(
            f"the rule {rule!r} needs more than counts: see `pas.methods.selection.select`"
        )
    if rule == "one-se":
        return min(within_one_error(cells, protocol, correct), key=_gentleness)
    assert damage is not None
    found = candidates(cells, protocol, correct)
    # What adds nothing does no harm, and no pass is needed to know it.
    harm = [damage(cell.configuration) if cell.effect else 0.0 for cell in found]
    return found[int(np.argmin(harm))]  # of equal ones the first, which is the gentlest


def candidates(
    cells: Sequence[Cell], protocol: Protocol, correct: Correct, most: int = MOST_CANDIDATES
) -> list[Cell]:
    """Return the cells whose damage is worth measuring, the smallest effect first.

    They are within one standard error of the best. Along one direction and to one side the damage
    grows with the strength, so of each (method, layer, sign) only the weakest is left; and where
    one cell adds nothing it is left alone, since nothing does less damage.
    """
    weakest: dict[tuple[str, int, bool], Cell] = {}
    for cell in sorted(within_one_error(cells, protocol, correct), key=_gentleness):
        if not cell.effect:
            return [cell]
        at = cell.configuration
        weakest.setdefault((at.method, at.layer, at.strength > 0), cell)
    return list(weakest.values())[:most]


def within_one_error(cells: Sequence[Cell], protocol: Protocol, correct: Correct) -> list[Cell]:
    """Return the cells no more than one standard error worse than the best, itself among them.

    The error is of the mean paired difference, its variance taken over n - 1; with that a cell that
    is right wherever the best is but on one item lies exactly one error below it, and is within.
    """
    best = _best(cells, protocol)
    of_best = np.asarray(correct[best.configuration], dtype=bool)
    found = []
    for cell in _estimated(cells):
        other = np.asarray(correct[cell.configuration], dtype=bool)
        if other.shape != of_best.shape:
            at = cell.configuration
            raise ValueError(f"{at} has answers to {other.size} items, the best {of_best.size}")
        difference = of_best.astype(float) - other
        spread = float(difference.std(ddof=1)) if difference.size > 1 else 0.0
        error = spread / sqrt(difference.size)
        if difference.mean() <= error + _ROUNDING:
            found.append(cell)
    return found


def _best(cells: Sequence[Cell], protocol: Protocol) -> Cell:
    def rank(cell: Cell) -> tuple[float, ...]:
        at = cell.configuration
        if protocol == "paper":
            return (-cell.correct / cell.n, -at.layer, at.strength)
        return (-cell.correct / cell.n, cell.effect, at.layer)

    return min(_estimated(cells), key=rank)


def _estimated(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.configuration.method != RANDOM]


def _gentleness(cell: Cell) -> tuple[float, ...]:
    """The smallest effect first; of equal ones the most accurate, then the lowest layer."""
    return (cell.effect, -cell.correct / cell.n, cell.configuration.layer)
