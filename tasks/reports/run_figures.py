"""The pictures of one training, for its page and for MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pas.evidence.evaluation import Evaluation
from pas.methods.contrast import RANDOM
from pas.methods.grid import Cell, Configuration
from tasks.reports import figures
from tasks.reports.paper import METHOD_NAMES
from tasks.reports.words import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_figures(evaluation: Evaluation, cells: Sequence[Cell]) -> dict[str, Figure]:
    """Draw what MLflow keeps: "sweep_<method>" of each method, and "methods".

    Args:
        evaluation: What the test items say.
        cells: The sweep.
    """
    drawn = {f"sweep_{method}": map_ for method, map_ in maps(evaluation, cells).items()}
    return drawn | {"methods": gains(evaluation)}


def maps(evaluation: Evaluation, cells: Sequence[Cell]) -> dict[str, Figure]:
    """Draw each method's heat map, all with the same shades."""
    baseline = evaluation.validation_unsteered
    reach = figures.reach_of(cells, baseline)
    by_method: dict[str, list[Cell]] = {}
    for cell in cells:
        by_method.setdefault(cell.configuration.method, []).append(cell)
    return {
        method: figures.heat_map(
            name_of(method),
            swept,
            baseline,
            reach,
            (evaluation.selected, best_of(evaluation, method)),
        )
        for method, swept in by_method.items()
    }


def gains(evaluation: Evaluation) -> Figure:
    """Draw the gain of each method and control on the test items."""
    rows = []
    for method, (configuration, test) in evaluation.methods.items():
        chosen = " (selected)" if configuration == evaluation.selected else ""
        label = f"{name_of(method)}, {where(configuration)}{chosen}"
        row = figures.Interval(label, test.delta, test.ci_low, test.ci_high)
        rows.append(row._replace(look="control") if method == "caa" else row)
    if (c := evaluation.controls.reshuffled) is not None and evaluation.selected.strength:
        label = "selected, re-shuffled choices"
        rows.append(figures.Interval(label, c.delta, c.ci_low, c.ci_high, "control"))
    draws = [c.delta for c in evaluation.random]
    return figures.forest(rows, draws, plural(len(draws), "random direction"))


def name_of(method: str) -> str:
    """Return a method as people know it."""
    return METHOD_NAMES.get(method, "random direction" if method == RANDOM else method)


def where(configuration: Configuration) -> str:
    """Return the layer and strength in words."""
    if not configuration.strength:
        return "unsteered"
    return f"layer {configuration.layer}, × {configuration.strength:g}"


def best_of(evaluation: Evaluation, method: str) -> Configuration | None:
    """Return the configuration that validation chose for a method; None if it has none."""
    return evaluation.methods[method].configuration if method in evaluation.methods else None
