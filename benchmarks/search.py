"""What an adaptive search leaves out of an exhaustive sweep, and what that costs in accuracy."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np
from datasets import disable_progress_bars
from scipy.stats import binomtest
from transformers.utils.logging import disable_progress_bar

from benchmarks.search_tables import FILES, Sweep, Table, load_table, save_table, sweep_of, table_of
from benchmarks.timing import save, show
from pas.examples import Protocol
from pas.models import ModelSpec, load_model
from pas.protocol import Cell, Configuration
from pas.search import Score, search
from pas.selection import select
from storage.settings import settings


def replayed(table: Table) -> Score:
    """A model that answers from the table; any strength 0 is the unsteered model."""
    row = {c: at for at, c in enumerate(table.configurations)}
    unsteered = next(at for at, c in enumerate(table.configurations) if not c.strength)

    def score(cells: Sequence[Configuration], items: Sequence[int]) -> np.ndarray:
        found: np.ndarray = table.val[
            np.ix_([row[c] if c.strength else unsteered for c in cells], items)
        ]
        return found

    return score


def agreement(table: Table, budget: float, seeds: int) -> dict[str, Any]:
    """How the search does on a known table, over orders of the items.

    Accuracies are of the validation split but for `test lost`: the exhaustive winner's less that
    of the cell found, each on the test items. `within` says how often the cell found lies in the
    95 % Wilson interval of the optimum, which says little where the unsteered model does so too.
    """
    n = table.val.shape[1]
    accuracy = dict(zip(table.configurations, (table.val > 0).mean(axis=1), strict=True))
    tested = dict(zip(table.configurations, (table.test > 0).mean(axis=1), strict=True))
    best = max(accuracy.values())
    low = binomtest(round(best * n), n).proportion_ci(method="wilson").low
    unsteered = next(a for c, a in accuracy.items() if not c.strength)
    methods = {
        m: max(a for c, a in accuracy.items() if c.method == m)
        for m in {c.method for c in accuracy}
    }
    runs = [search(table.configurations, n, replayed(table), budget, seed) for seed in range(seeds)]
    effect = dict(zip(table.configurations, table.effects, strict=True))

    def winner(cells: Iterable[Configuration]) -> Configuration:
        return min(cells, key=lambda c: (-accuracy[c], effect[c]))

    found = [winner(run.finalists) for run in runs]
    reached = np.array([accuracy[c] for c in found])
    whole = tested[winner(accuracy)]
    lost = [
        methods[m] - max(accuracy[c] for c in run.finalists if c.method == m)
        for run in runs
        for m in methods
    ]
    return {
        "evaluations": fmean(run.share for run in runs),
        "prompts": fmean(run.prompts / n for run in runs),
        "unsteered": unsteered,
        "unsteered within": bool(unsteered >= low),
        "best": best,
        "found": float(np.mean(reached >= best)),
        "within": float(np.mean(reached >= low)),
        "lost": float(np.mean(best - reached)),
        "most lost": float(np.max(best - reached)),
        "lost by method": fmean(lost),
        "test lost": whole - fmean(tested[c] for c in found),
    }


def rules(table: Table) -> list[dict[str, Any]]:
    """What each rule of selection takes, and how that does on the test split."""
    right = dict(zip(table.configurations, table.val > 0, strict=True))
    cells = [
        Cell(c, hits.size, int(hits.sum()), effect)
        for (c, hits), effect in zip(right.items(), table.effects, strict=True)
    ]
    found = {"best": select(cells, "sound")}
    found["one-se"] = select(cells, "sound", "one-se", correct=right)
    test = dict(zip(table.configurations, (table.test > 0).mean(axis=1), strict=True))
    return [
        {
            "task": table.task, "rule": rule, "method": cell.configuration.method,
            "layer": cell.configuration.layer, "strength": cell.configuration.strength,
            "effect": cell.effect, "validation": cell.correct / cell.n,
            "test": float(test[cell.configuration]),
        }
        for rule, cell in found.items()
    ]  # fmt: skip


def live(table: Table, at: Sweep, budget: float) -> dict[str, Any]:
    """The search on the model itself, beside the exhaustive sweep."""
    start = perf_counter()
    found = search(at.grid, len(at.parts.val), at.score, budget, 0)
    taken = perf_counter() - start
    known = found.known >= 0
    return {
        "unequal answers": int((found.known != (table.val > 0))[known].sum()),
        "seconds exhaustive": table.seconds, "seconds search": taken,
    }  # fmt: skip


def mean_of(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every number over the tasks."""
    numbers = [k for k in lines[0] if all(isinstance(v.get(k), int | float) for v in lines)]
    return {"task": "mean", **{k: fmean(float(line[k]) for line in lines) for k in numbers}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__,
        epilog="example:\n  python -m benchmarks.search --tasks truthfulqa:paper,bbq_age "
        "--tables tables --out search.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--tasks", default="bbq_age",
        help=f"of {','.join(FILES)}; :paper behind one has that protocol, :paper:1 and :sound:1 "
        "another seed of the split (bbq_age)",
    )  # fmt: skip
    parser.add_argument("--items", type=int, default=600, help="before the split (600)")
    parser.add_argument("--layers", default="auto", help="as in pas train (auto)")
    parser.add_argument("--budget", type=float, default=0.1, help="share to spend (0.1)")
    parser.add_argument("--seeds", type=int, default=30, help="orders of the items replayed (30)")
    parser.add_argument(
        "--tables", type=Path, help="folder that keeps the sweeps; one that is there is replayed"
    )
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    return parser.parse_args()


def _named(task: str) -> tuple[str, Protocol, int]:
    name, *given = task.split(":")
    protocol, seed = (*given, *("sound", "0")[len(given) :])
    return name, "paper" if protocol == "paper" else "sound", int(seed)


def main() -> None:
    options = arguments()
    disable_progress_bar()
    disable_progress_bars()
    lines, chosen = [], []
    for task in options.tasks.split(","):
        kept = options.tables and options.tables / f"{task.replace(':', '-')}.npz"
        if kept and kept.exists():
            table, measured = load_table(kept), {}
        else:
            model = load_model(ModelSpec("demo", device="cpu"), settings().cache_dir)
            at = sweep_of(model, *_named(task), options.items, options.layers)
            table = table_of(task, at)
            if kept:
                save_table(table, kept)
            measured = live(table, at, options.budget)
        sizes = {"cells": len(table.configurations), "items": table.val.shape[1]}
        found = agreement(table, options.budget, options.seeds)
        lines.append({"task": task, **sizes, **found, **measured})
        chosen += rules(table)
    notes = [
        "evaluations: share of the exhaustive (cell, item) pairs, strength 0 in neither. prompts: "
        "items read, over those of the exhaustive sweep. found: how often the winner is as "
        "accurate as the best cell; within: inside the optimum's 95 % interval; lost: accuracy on "
        f"the validation split, mean and worst over {options.seeds} orders of the items, and mean "
        "of every method's own best; test lost: the winner's accuracy on the test split.",
        "unequal answers: of the search run on the model, against the exhaustive sweep.",
    ]
    shown = [*lines, mean_of(lines)] if len(lines) > 1 else lines
    for at, line in enumerate(shown):  # one table a task is too wide for a terminal
        show(
            f"Search: {line['task']}",
            [{"": name, "measured": value} for name, value in line.items()],
            notes if at == len(shown) - 1 else (),
        )
    show("Rules of selection", chosen)
    save(options.out, {
        "benchmark": "search", "table": lines, "rules": chosen, "notes": notes,
        "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
    })  # fmt: skip


if __name__ == "__main__":
    main()
