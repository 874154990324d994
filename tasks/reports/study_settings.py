"""The parts of a study's report other than its main table: other settings, sweeps, flips."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.methods.grid import Cell
from pas.study.results import StudyResult
from pas.study.summary import Summary
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


def samples(summary: Summary, names: Mapping[str, str]) -> Picture | None:
    """Draw the gain against the number of training items, six pairs of model and task at most."""
    lines: dict[str, dict[float, float]] = {}
    for row in summary.others.get("samples", ()):
        line = lines.setdefault(f"{row.task}, {names[row.model]}", {})
        line[float(row.variant)] = row.test.mean
    if len({size for line in lines.values() for size in line}) < 2:
        return None
    shown = dict(list(lines.items())[: figures.SERIES])
    picture = figures.curves("training items", shown, 0.0, "Gain")
    return Picture("Gain by training items", figures.as_svg(picture))


def forgetting(results: Sequence[StudyResult], names: Mapping[str, str]) -> list[Picture]:
    """Draw the change of accuracy on each target, and the divergence on neutral text, by strength.

    The change is against the same seeds unsteered: a vector's own strength is not every seed's.
    """
    drawn = []
    for target, pairs in curves_of(results).items():
        chosen = list(pairs.items())[: figures.SERIES]
        for part, caption in (
            (0, f"Change of accuracy on {target}"),
            (1, "Divergence on neutral text, nats per token"),
        ):
            lines = {
                f"{task}, {names[model]}": {s: values[part] for s, values in line.items()}
                for (model, task), line in chosen
            }
            picture = figures.curves("strength", lines, 0.0, caption)
            drawn.append(Picture(caption, figures.as_svg(picture)))
    return drawn


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
    if len({layer for line in best.values() for layer in line}) < 2:
        return ""
    return figures.as_svg(figures.curves("layer", best, baseline, what))
