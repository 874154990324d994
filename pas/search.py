"""Find the sweep's best cell without running every cell on every item.

METHOD.md, "Pipeline", step 5, runs methods x layers x strengths on the whole validation split. Two
things make most of that unnecessary. Nearly all cells are far from the best, and a few items show
it. And along one direction an item's margin, by which the right choice leads or trails the best
other one, changes steadily: between two strengths, of which the unsteered model is one that costs
nothing, it is read off, with some hope where answers flip in between.

So the search first learns the unsteered margins, and takes the items in an order of which any
beginning has its share of sure and of doubtful ones; surveys a few strengths of every (method,
layer) on a few items and reads the others off between them, item by item; runs the cells that look
best on further items, ever fewer cells on ever more items (successive halving: Jamieson &
Talwalkar 2016, arXiv:1502.07943); and runs the finalists on all items, so that what is reported has
been counted and not estimated. What it finds and what it costs is measured in `benchmarks.search`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from pas.errors import UserError
from pas.protocol import Configuration

Score = Callable[[Sequence[Configuration], Sequence[int]], np.ndarray]
"""Runs the model: margins [n_configurations, n_items] of items by index, above 0 where right."""

UNKNOWN = -1
# Shares of the budget; the middle rounds have what is left.
SURVEY, FINAL = 0.35, 0.35
STEP = 4  # every so many-th strength is surveyed
HOPE = 0.6  # weight of what could be over what is read off, see `_Table.promise`
ROUNDS = 2
KEEP = 3  # one in so many cells goes on to the next round
FEWEST = 8  # cells that go on however few they are


class Searched(NamedTuple):
    """What was asked, and the answers.

    Attributes:
        configurations: As given.
        known: [n_configurations, n_items] int8: 1 right, 0 wrong, -1 never run.
        evaluations: (configuration, item) pairs that were run; strength 0 is not counted.
        prompts: Items read, each time that one is read; an exhaustive sweep reads each once.
    """

    configurations: tuple[Configuration, ...]
    known: np.ndarray
    evaluations: int
    prompts: int

    @property
    def share(self) -> float:
        """Evaluations over those of the exhaustive sweep, strength 0 left out of both."""
        steered = sum(at.strength != 0 for at in self.configurations)
        return self.evaluations / max(1, int(steered) * int(self.known.shape[1]))

    @property
    def n(self) -> np.ndarray:
        """Items that each configuration was run on: [n_configurations] int."""
        return np.asarray((self.known != UNKNOWN).sum(axis=1))

    @property
    def correct(self) -> np.ndarray:
        """Of these the right ones: [n_configurations] int."""
        return np.asarray((self.known == 1).sum(axis=1))

    @property
    def finalists(self) -> list[Configuration]:
        """Configurations that were run on all items, strength 0 among them, the best first.

        Of equal ones the smaller strength comes first, so that not steering beats steering for
        nothing; `pas.selection` chooses among them by the rule that was asked for.
        """
        whole = np.flatnonzero(self.n == self.known.shape[1])
        order = sorted(
            whole, key=lambda i: (-self.correct[i], abs(self.configurations[i].strength), i)
        )
        return [self.configurations[i] for i in order]


def search(
    configurations: Sequence[Configuration],
    n_items: int,
    score: Score,
    budget: float = 0.1,
    seed: int = 0,
) -> Searched:
    """Spend `budget` of an exhaustive sweep on finding each method's best configuration.

    Args:
        configurations: The grid, any order; of the random control nothing is chosen, so that it
            has no place here.
        n_items: Validation items; `score` is given indices below it.
        score: Runs the model; called a handful of times, see `pas.score.margin`. The first call
            has one configuration of strength 0 alone, which need not lie in the grid: whoever runs
            any configuration on an item has the unsteered model's answer for nothing.
        budget: Share of the exhaustive (configuration, item) pairs, strength 0 not counted. At
            least one configuration of every method is run on all items whatever the budget, and
            two items are surveyed.
        seed: Of the items' order, and of the order of configurations that look the same.

    Raises:
        UserError: If the budget does not lie in 0 to 1.
        ValueError: If there is no configuration or item, or one configuration is given twice.
    """
    if not 0 < budget <= 1:
        raise UserError(f"--search-budget {budget:g}: give a share above 0 and up to 1, such as .1")
    if not configurations or n_items < 1 or len({*configurations}) < len(configurations):
        raise ValueError("a search needs distinct configurations and at least one item")
    table = _Table(configurations, n_items, score)
    steered = np.array([i for i, at in enumerate(configurations) if at.strength], int)
    money = int(budget * len(steered) * n_items)
    if budget == 1 or not len(steered):
        table.ask(range(len(configurations)), np.arange(n_items))
        return table.searched()
    rng = np.random.default_rng(seed)
    luck = rng.permutation(len(configurations))
    table.ask((), np.arange(n_items))
    items = _spread(table.unsteered, rng)

    surveyed = [i for line in table.lines for i in _surveyed(line, configurations)]
    seen = int(np.clip(SURVEY * money // len(surveyed), min(2, n_items), n_items))
    table.ask(surveyed, items[:seen])
    alive = table.ranked(steered, items[:seen], luck)

    each = max(0.0, (1 - FINAL) * money - table.evaluations) / ROUNDS
    for _ in range(ROUNDS):
        alive = alive[: max(FEWEST, len(alive) // KEEP)]
        further = min(int(each // len(alive)), n_items - seen)
        if further:
            table.ask(alive, items[seen : seen + further])
            seen += further
            alive = table.ranked(alive, items[:seen], luck)

    rest = table.ranked(np.setdiff1d(steered, alive), items[:seen], luck)
    table.ask(table.affordable([*alive, *rest], money), items)
    return table.searched()


def _spread(margins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order items so that any first few of them lie evenly over the margins' ranks."""
    places = qmc.Halton(1, scramble=True, rng=rng).random(len(margins)).ravel()
    return np.asarray(np.argsort(margins, kind="stable")[np.argsort(places)])


def _surveyed(line: Sequence[int], configurations: Sequence[Configuration]) -> list[int]:
    """Every `STEP`-th strength on either side of 0, counted from the largest inwards."""
    sides = ([i for i in line if configurations[i].strength * sign > 0] for sign in (1, -1))
    return [
        i
        for side in sides
        for i in sorted(side, key=lambda i: -abs(configurations[i].strength))[::STEP]
    ]


def _along(margins: np.ndarray) -> np.ndarray:
    """One item's promise at every strength of a line, from margins of which some are nan."""
    places, known = np.arange(len(margins)), np.flatnonzero(~np.isnan(margins))
    read = np.interp(places, known, margins[known]) > 0
    after = np.searchsorted(known, places)
    above = margins[known[np.minimum(after, len(known) - 1)]]
    # At a known strength both neighbours are that one itself.
    below = margins[known[np.maximum(np.searchsorted(known, places, side="right") - 1, 0)]]
    return np.asarray((1 - HOPE) * read + HOPE * ((above > 0) | (below > 0)))


class _Table:
    """The margins so far, and the lines of one direction each along which they are read off."""

    def __init__(self, configurations: Sequence[Configuration], n_items: int, score: Score) -> None:
        self.configurations = tuple(configurations)
        self.score = score
        self.margins = np.full((len(configurations), n_items), np.nan)
        self.unsteered = np.full(n_items, np.nan)
        self.zero = np.array([not at.strength for at in configurations])
        self.evaluations = self.prompts = 0
        lines: dict[tuple[str, int], list[int]] = {}
        for i in sorted(range(len(configurations)), key=lambda i: configurations[i].strength):
            lines.setdefault(configurations[i][:2], []).append(i)
        self.lines = list(lines.values())

    def ask(self, cells: Sequence[int] | np.ndarray, items: np.ndarray) -> None:
        """Run whatever of cells x items is not known yet, and the unsteered model along with it."""
        steered = np.array([i for i in cells if not self.zero[i]], int)
        lacking = np.isnan(self.margins[np.ix_(steered, items)])
        # Items that lack the same cells go into one call, so that each is read once.
        patterns, member = np.unique(lacking.T, axis=0, return_inverse=True)
        for at, pattern in enumerate(patterns):
            if pattern.any():
                self._run(steered[pattern], items[member.ravel() == at])
        if not len(steered):
            self._run(steered, items)

    def _run(self, cells: np.ndarray, items: np.ndarray) -> None:
        fresh = np.isnan(self.unsteered[items])
        chosen = [self.configurations[i] for i in cells]
        if fresh.any():
            chosen = [self.configurations[0]._replace(strength=0.0), *chosen]
        found = np.asarray(self.score(chosen, items.tolist()), dtype=float)
        if found.shape != (len(chosen), len(items)):
            raise ValueError(f"score gave {found.shape} for {(len(chosen), len(items))}")
        if fresh.any():
            self.unsteered[items] = found[0]
            self.margins[np.ix_(self.zero, items)] = found[0]
        self.margins[np.ix_(cells, items)] = found[len(chosen) - len(cells) :]
        self.evaluations += len(cells) * len(items)
        self.prompts += len(items)

    def promise(self, items: np.ndarray) -> np.ndarray:
        """What every cell may come to on the items: [n_cells] float64.

        A mean of two shares, the second weighted by `HOPE`. First, of items read as right: a
        margin that is not known lies on the straight line, in the order of the strengths, between
        the nearest that are, and beyond the last one it is that one. Second, of items that could
        be right: those right at either of the nearest. Where answers flip between two strengths,
        something better than both may lie there, and no straight line shows it.
        """
        found = np.empty(len(self.configurations))
        for line in self.lines:
            strengths = [self.configurations[i].strength for i in line]
            zero = int(np.searchsorted(strengths, 0.0))
            margins = self.margins[np.array(line)][:, items]
            if 0.0 not in strengths:
                margins = np.insert(margins, zero, self.unsteered[items], axis=0)
            promised = np.mean([_along(column) for column in margins.T], axis=0)
            found[line] = promised if 0.0 in strengths else np.delete(promised, zero)
        return found

    def ranked(self, cells: np.ndarray, items: np.ndarray, luck: np.ndarray) -> np.ndarray:
        """Order cells by their promise, the best first, equal ones by lot."""
        return np.asarray(cells[np.lexsort((luck[cells], -self.promise(items)[cells]))])

    def affordable(self, ranked: Sequence[int], money: int) -> list[int]:
        """Every method's first, then the next ones while all their items can be paid for."""
        first = {self.configurations[i].method: i for i in reversed(ranked)}
        chosen = list(first.values())
        lacking = np.isnan(self.margins).sum(axis=1)
        left = money - self.evaluations - lacking[chosen].sum()
        for i in ranked:
            left -= 0 if i in chosen else lacking[i]
            if left < 0:
                break
            chosen.append(i)
        return list(dict.fromkeys(chosen))

    def searched(self) -> Searched:
        known = np.where(np.isnan(self.margins), UNKNOWN, self.margins > 0).astype(np.int8)
        return Searched(self.configurations, known, self.evaluations, self.prompts)
