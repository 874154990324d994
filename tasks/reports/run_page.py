"""The report of one training: a self-contained HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.data.splits import SPLITS, Split
from pas.evidence.bias import BiasScores
from pas.evidence.checks import Limits
from pas.evidence.evaluation import Evaluation, LetterCounts
from pas.evidence.paired import Comparison
from pas.evidence.power import items_needed, smallest_gain
from pas.methods.answers import Answers
from pas.methods.grid import Cell, Configuration
from pas.recipe import Recipe
from tasks.reports import figures, words
from tasks.reports import run_figures as run
from tasks.reports.command import command_line
from tasks.reports.flips import flips
from tasks.reports.page import Badge, environment

_ASSUMED_FLIPS = 0.1  # of the items, where none flipped and a rate is needed
_LINES = 5  # layers in a chart of strengths


class Cost(NamedTuple):
    """What the training took.

    Attributes:
        seconds: By step, and "total" where it is known.
        prompts: Distinct prompts whose activations were needed; None if not known.
        extracted: Of these, how many the model was run on; the rest was in the lake.
    """

    seconds: Mapping[str, float]
    prompts: int | None = None
    extracted: int = 0


class RunReport(NamedTuple):
    """What the page of a run shows.

    Attributes:
        recipe: What was asked for.
        evaluation: The result on the test items.
        cells: The sweep.
        answers: Answers to the test items.
        split: The items.
        cost: What the training took.
        facts: Facts for the end of the page, such as the run id and versions; see
            `tasks.reports.command.run_facts`.
    """

    recipe: Recipe
    evaluation: Evaluation
    cells: Sequence[Cell]
    answers: Answers
    split: Split
    cost: Cost
    facts: Mapping[str, str]


def run_page(report: RunReport) -> str:
    """Return the page as HTML."""
    recipe, evaluation, cells, answers, split = report[:5]
    comparison, selected = evaluation.test, evaluation.selected
    label = evaluation.verdict.label
    return (
        environment()
        .get_template("run.html.j2")
        .render(
            recipe=recipe,
            evaluation=evaluation,
            test=comparison,
            at=selected,
            badge=Badge(label, words.VERDICTS.get(label, words.UNKNOWN_VERDICT)[0], 1, 1),
            name=run.name_of,
            power=_power(comparison),
            splits=[(name, len(part)) for name, part in zip(SPLITS, split, strict=True)],
            sweep=_sweep(recipe, cells, evaluation),
            forest=figures.as_svg(run.gains(evaluation)),
            methods=_methods(evaluation, cells),
            turned=flips(split.test, answers, selected, recipe.rule.kind),
            letters=_letters(evaluation.letters) if evaluation.letters else None,
            bias=_bias(evaluation),
            groups=len({e.group for e in split.test}),
            cost=report.cost,
            command=command_line(recipe),
            facts=report.facts,
        )
    )


def _power(test: Comparison) -> dict[str, Any]:
    """Return what so many items show at all, and how many would show the gain measured."""
    rate = (test.w2r + test.r2w) / test.n
    gain = (test.w2r - test.r2w) / test.n
    needed = None
    if gain > 0:
        try:
            needed = items_needed(gain, rate)
        except ValueError:
            needed = 0  # more than can be counted
    return {
        "alpha": Limits().alpha,
        "rate": rate,
        "assumed": _ASSUMED_FLIPS,
        "least": smallest_gain(test.n, rate or _ASSUMED_FLIPS),
        "needed": needed,
    }


class _MethodSweep(NamedTuple):
    """One method's part of the sweep: its heat map, its lines, and its accuracies by layer."""

    name: str
    heat_map: str
    curves: str
    rows: list[tuple[int, list[Cell | None]]]


def _sweep(recipe: Recipe, cells: Sequence[Cell], evaluation: Evaluation) -> dict[str, Any]:
    baseline = evaluation.validation_unsteered
    maps = run.maps(evaluation, cells)
    accuracies = [baseline, *(c.correct / c.n for c in cells)]
    limits = min(accuracies), max(accuracies)
    strengths = sorted({c.configuration.strength for c in cells})
    layers = sorted({c.configuration.layer for c in cells})
    parts, by_layer = [], {}
    for method in recipe.methods:
        swept = [c for c in cells if c.configuration.method == method]
        if not swept:
            continue
        cell_of = {(c.configuration.layer, c.configuration.strength): c for c in swept}
        rows = [(layer, [cell_of.get((layer, s)) for s in strengths]) for layer in layers]
        lines = _by_strength(swept, strengths, baseline, limits)
        name = run.name_of(method)
        parts.append(_MethodSweep(name, figures.as_svg(maps[method]), lines, rows))
        strength, line = _by_layer(swept, run.best_of(evaluation, method) or evaluation.selected)
        by_layer[f"{name}, × {strength:g}"] = line
    axis = figures.Axis("layer", {float(layer): str(layer) for layer in layers})
    return {
        "baseline": baseline,
        "reach": figures.reach_of(cells, baseline),
        "strengths": strengths,
        "counts": sorted({c.n for c in cells}),
        "size": len(cells),
        "parts": parts,
        "by_layer": (
            figures.as_svg(figures.curves(axis, by_layer, baseline, limits))
            if len(layers) > 1
            else ""
        ),
    }


def _by_strength(
    swept: Sequence[Cell], strengths: Sequence[float], baseline: float, limits: tuple[float, float]
) -> str:
    if len(strengths) < 2:
        return ""
    # Strengths grow roughly by factors and may be 0 or negative: equal steps suit them all.
    position = {s: float(i) for i, s in enumerate(strengths)}
    lines: dict[int, dict[float, float]] = {}
    for cell in swept:
        layer, strength = cell.configuration.layer, cell.configuration.strength
        lines.setdefault(layer, {})[position[strength]] = cell.correct / cell.n
    ranked = sorted(lines, key=lambda layer: (-max(lines[layer].values()), layer))
    shown = {f"layer {layer}": lines[layer] for layer in sorted(ranked[:_LINES])}
    axis = figures.Axis("strength", {position[s]: f"{s:g}" for s in strengths})
    what = f"{run.name_of(swept[0].configuration.method)}, validation accuracy"
    return figures.as_svg(figures.curves(axis, shown, baseline, limits, what))


def _by_layer(swept: Sequence[Cell], best: Configuration) -> tuple[float, dict[float, float]]:
    """Return accuracies over layers at the best strength, of those that steer if there are any."""
    if not best.strength:
        steered = [c for c in swept if c.configuration.strength] or swept
        highest = max(steered, key=lambda c: (c.correct / c.n, -c.effect))
        best = highest.configuration
    line = {
        float(c.configuration.layer): c.correct / c.n
        for c in swept
        if c.configuration.strength == best.strength
    }
    return best.strength, line


def _methods(evaluation: Evaluation, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    accuracy = {c.configuration: c.correct / c.n for c in cells}
    return [
        {
            "name": run.name_of(method),
            "at": run.where(at),
            "selected": at == evaluation.selected,
            "validation": accuracy.get(at),
            "test": comparison,
        }
        for method, (at, comparison) in evaluation.methods.items()
    ]


def _letters(letters: LetterCounts) -> dict[str, Any]:
    return {
        "picture": figures.as_svg(
            figures.letters(letters.unsteered, letters.steered, letters.correct)
        ),
        "rows": (
            ("unsteered", letters.unsteered),
            ("steered", letters.steered),
            ("right", letters.correct),
        ),
    }


def _bias(evaluation: Evaluation) -> tuple[BiasScores, BiasScores] | None:
    """BBQ's scores unsteered and steered; None for data whose choices have no such roles."""
    before, after = evaluation.controls.bias_before, evaluation.controls.bias_after
    return (before, after) if before and after else None
