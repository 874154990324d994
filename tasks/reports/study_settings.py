"""The parts of a study's report other than its main table: other settings, sweeps, flips."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.methods.grid import Cell
from pas.study.results import StudyResult
from pas.study.summary import Summary, TaskSummary
from tasks.reports import figures
from tasks.reports.paper import METHOD_NAMES
from tasks.reports.study_runs import PairRuns, best_method, curves_of

TITLES = {
    "icl": "In-context examples",
    "sft": "Fine-tuning",
    "sites": "Sites",
    "samples": "Training items",
    "forgetting": "Forgetting",
}


class Picture(NamedTuple):
    """A picture with its caption."""

    caption: str
    picture: str


def others(summary: Summary) -> dict[str, list[TaskSummary]]:
    """Return the rows of each setting other than the main one, by its name."""
    found: dict[str, list[TaskSummary]] = {}
    for row in summary.others:
        found.setdefault(row.setting, []).append(row)
    return found


def samples(summary: Summary, names: Mapping[str, str]) -> Picture | None:
    """Draw the gain against the number of training items, six pairs of model and task at most."""
    lines: dict[str, dict[float, float]] = {}
    for row in summary.others:
        if row.setting == "samples":
            lines.setdefault(f"{row.task}, {names[row.model]}", {})[float(row.variant)] = (
                row.test.mean
            )
    sizes = sorted({size for line in lines.values() for size in line})
    if len(sizes) < 2:
        return None
    position = {size: float(i) for i, size in enumerate(sizes)}
    shown = {
        name: {position[s]: gain for s, gain in line.items()}
        for name, line in list(lines.items())[: figures.SERIES]
    }
    return Picture(
        "Gain by training items",
        _curves(
            figures.Axis("training items", {position[s]: f"{s:g}" for s in sizes}),
            shown,
            0.0,
            "Gain",
        ),
    )


def forgetting(results: Sequence[StudyResult], names: Mapping[str, str]) -> list[Picture]:
    """Draw the change of accuracy on each target, and the divergence on neutral text, by strength.

    The change is against the same seeds unsteered: a vector's own strength is not every seed's.
    """
    drawn = []
    for target, pairs in curves_of(results).items():
        chosen = list(pairs.items())[: figures.SERIES]
        strengths = sorted({s for _, line in chosen for s in line})
        position = {s: float(i) for i, s in enumerate(strengths)}
        axis = figures.Axis("strength", {position[s]: f"{s:g}" for s in strengths})
        for part, caption in (
            (0, f"Change of accuracy on {target}"),
            (1, "Divergence on neutral text, nats per token"),
        ):
            lines = {
                f"{task}, {names[model]}": {position[s]: values[part] for s, values in line.items()}
                for (model, task), line in chosen
            }
            drawn.append(Picture(caption, _curves(axis, lines, 0.0, caption)))
    return drawn


def _curves(
    axis: figures.Axis, lines: Mapping[str, Mapping[float, float]], baseline: float, what: str
) -> str:
    values = [baseline, *(v for line in lines.values() for v in line.values())]
    limits = min(values), max(values)
    return figures.as_svg(figures.curves(axis, lines, baseline, limits, what))


def sweeps(
    runs: Mapping[tuple[str, str], PairRuns], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return for each pair of model and task its best method's heat map and curve over layers."""
    found = []
    for (model, task), pair in runs.items():
        method = best_method(pair)
        cells = [c for c in pair.cells if c.configuration.method == method]
        best = max(cells, key=lambda c: (c.correct / c.n, -c.configuration.strength))
        name = METHOD_NAMES.get(method, method)
        reach = figures.reach_of(cells, pair.baseline)
        found.append(
            {
                "task": task,
                "model": names[model],
                "method": name,
                "n": best.n,
                "best": best.configuration,
                "heat_map": figures.as_svg(
                    figures.heat_map(
                        f"{name}, {task}, {names[model]}",
                        cells,
                        pair.baseline,
                        reach,
                        (best.configuration, None),
                    )
                ),
                "layers": _layers(
                    pair.cells,
                    pair.baseline,
                    f"Best validation accuracy of {task}, {names[model]},",
                ),
                "flips": pair.flips,
                "seed": pair.seed,
            }
        )
    return found


def _layers(cells: Sequence[Cell], baseline: float, what: str) -> str:
    """Draw each method's best accuracy at each layer over all strengths."""
    best: dict[str, dict[float, float]] = {}
    for cell in cells:
        method, layer = cell.configuration.method, float(cell.configuration.layer)
        line = best.setdefault(METHOD_NAMES.get(method, method), {})
        line[layer] = max(line.get(layer, 0.0), cell.correct / cell.n)
    layers = sorted({layer for line in best.values() for layer in line})
    if len(layers) < 2:
        return ""
    axis = figures.Axis("layer", {layer: f"{layer:g}" for layer in layers})
    return _curves(axis, best, baseline, what)
