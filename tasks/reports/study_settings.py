"""The parts of a study's report beside its main table: other settings, sweeps, flips."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.methods.grid import Cell, Configuration
from pas.study.results import StudyResult
from pas.study.summary import Summary, TaskSummary
from tasks.reports import run_figures as figures
from tasks.reports.paper import METHOD_NAMES
from tasks.reports.study_evidence import Evidence, best_method, curves_of
from tasks.reports.svg import SERIES

TITLES = {
    "icl": "In-context examples", "sft": "Fine-tuning", "sites": "Sites",
    "samples": "Training items", "forgetting": "Forgetting",
}  # fmt: skip


class Picture(NamedTuple):
    """A picture with its caption."""

    caption: str
    picture: str


def others(summary: Summary) -> dict[str, list[TaskSummary]]:
    """Return the rows of each setting beside the main one, by its name."""
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
    place = {size: float(i) for i, size in enumerate(sizes)}
    shown = {
        name: {place[s]: gain for s, gain in line.items()}
        for name, line in list(lines.items())[:SERIES]
    }
    return Picture(
        "Gain by training items",
        _curves("training items", {place[s]: f"{s:g}" for s in sizes}, shown, 0.0, "Gain"),
    )


def forgetting(results: Sequence[StudyResult], names: Mapping[str, str]) -> list[Picture]:
    """Draw the change of accuracy on each target, and the divergence on neutral text, by strength.

    The change is against the same seeds unsteered: a vector's own strength is not every seed's.
    """
    drawn = []
    for target, pairs in curves_of(results).items():
        chosen = list(pairs.items())[:SERIES]
        strengths = sorted({s for _, line in chosen for s in line})
        place = {s: float(i) for i, s in enumerate(strengths)}
        steps = {place[s]: f"{s:g}" for s in strengths}
        for part, caption in (
            (0, f"Change of accuracy on {target}"),
            (1, "Divergence on neutral text, nats a token"),
        ):
            lines = {
                f"{task}, {names[model]}": {place[s]: values[part] for s, values in line.items()}
                for (model, task), line in chosen
            }
            drawn.append(Picture(caption, _curves("strength", steps, lines, 0.0, caption)))
    return drawn


def _curves(
    axis: str, steps: Mapping[float, str], lines: Mapping[str, Mapping[float, float]],
    baseline: float, what: str,
) -> str:  # fmt: skip
    values = [baseline, *(v for line in lines.values() for v in line.values())]
    return figures.curves(axis, steps, lines, baseline, (min(values), max(values)), what)


def sweeps(
    evidence: Mapping[tuple[str, str], Evidence], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return for each pair of model and task its best method's heat map and curve over layers."""
    found = []
    for (model, task), own in evidence.items():
        method = best_method(own)
        cells = [c for c in own.cells if c.configuration.method == method]
        best = max(cells, key=lambda c: (c.correct / c.n, -c.configuration.strength))
        name = METHOD_NAMES.get(method, method)
        reach = figures.reach_of(cells, own.baseline)
        found.append(
            {
                "task": task,
                "model": names[model],
                "method": name,
                "n": best.n,
                "best": best.configuration,
                "heat_map": figures.heat_map(
                    name, cells, own.baseline, reach, None, best.configuration
                ),
                "layers": _layers(own.cells, own.baseline),
                "flips": own.flips,
                "seed": own.seed,
            }
        )
    return found


def _layers(cells: Sequence[Cell], baseline: float) -> str:
    """Draw each method's best accuracy at each layer, whatever the strength."""
    best: dict[str, dict[float, float]] = {}
    for cell in cells:
        at: Configuration = cell.configuration
        line = best.setdefault(METHOD_NAMES.get(at.method, at.method), {})
        line[float(at.layer)] = max(line.get(float(at.layer), 0.0), cell.correct / cell.n)
    layers = sorted({layer for line in best.values() for layer in line})
    if len(layers) < 2:
        return ""
    steps = {layer: f"{layer:g}" for layer in layers}
    return _curves("layer", steps, best, baseline, "Best validation accuracy")
