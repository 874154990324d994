"""The report of one training: a self-contained HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pas.data.chat import Chat, described
from pas.data.splits import SPLITS, Split
from pas.engine.scoring import ScoringRule
from pas.evidence.bias import BiasScores
from pas.evidence.evaluation import Evaluation
from pas.methods.answers import Answers
from pas.methods.grid import Cell, Configuration
from pas.recipe import Recipe
from tasks.reports import figures
from tasks.reports import run_figures as run
from tasks.reports.command import command_line
from tasks.reports.flips import flips
from tasks.reports.page import render
from tasks.reports.words import doubts, power


class Cost(NamedTuple):
    """What the training took.

    Attributes:
        seconds: By step, and "total".
        prompts: Distinct prompts whose activations were needed.
        extracted: Of these, how many the model was run on; the rest was in the lake.
    """

    seconds: Mapping[str, float]
    prompts: int
    extracted: int


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
        rule: How the items were scored.
        chat: The chat template of the prompts; None for plain text.
    """

    recipe: Recipe
    evaluation: Evaluation
    cells: Sequence[Cell]
    answers: Answers
    split: Split
    cost: Cost
    facts: Mapping[str, str]
    rule: ScoringRule
    chat: Chat | None


def run_page(report: RunReport) -> str:
    """Return the page as HTML."""
    recipe, evaluation, cells, answers, split = report[:5]
    comparison, selected = evaluation.test, evaluation.selected
    return render(
        "run.html.j2",
        recipe=recipe,
        evaluation=evaluation,
        test=comparison,
        at=selected,
        name=run.name_of,
        power=power(comparison),
        splits=[(name, len(part)) for name, part in zip(SPLITS, split, strict=True)],
        sweep=_sweep(recipe, cells, evaluation),
        forest=figures.as_svg(run.gains(evaluation)),
        methods=_methods(evaluation, cells),
        doubts=doubts(evaluation.doubts, report.rule.ties),
        turned=flips(split.test, answers, selected, report.rule.kind, chat=report.chat),
        rule=report.rule,
        prompt="; ".join(described(report.chat)),
        bias=_bias(evaluation),
        groups=len({e.group for e in split.test}),
        cost=report.cost,
        command=command_line(recipe),
        facts=report.facts,
    )


def _sweep(recipe: Recipe, cells: Sequence[Cell], evaluation: Evaluation) -> dict[str, Any]:
    baseline = evaluation.validation_unsteered
    strengths = sorted({c.configuration.strength for c in cells})
    layers = sorted({c.configuration.layer for c in cells})
    parts, by_layer, maps = [], {}, run.maps(evaluation, cells)
    for method in (m for m in recipe.methods if m in maps):
        swept = [c for c in cells if c.configuration.method == method]
        cell_of = {(c.configuration.layer, c.configuration.strength): c for c in swept}
        rows = [(layer, [cell_of.get((layer, s)) for s in strengths]) for layer in layers]
        name = run.name_of(method)
        parts.append({"name": name, "heat_map": figures.as_svg(maps[method]), "rows": rows})
        strength, line = _by_layer(swept, run.best_of(evaluation, method) or evaluation.selected)
        by_layer[f"{name}, × {strength:g}"] = line
    lines = figures.curves("layer", by_layer, baseline) if len(layers) > 1 else None
    return {
        "baseline": baseline,
        "reach": figures.reach_of(cells, baseline),
        "strengths": strengths,
        "items": cells[0].n,
        "size": len(cells),
        "parts": parts,
        "by_layer": figures.as_svg(lines) if lines else "",
    }


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


def _bias(evaluation: Evaluation) -> tuple[BiasScores, BiasScores] | None:
    """BBQ's scores unsteered and steered; None for data whose choices have no such roles."""
    before, after = evaluation.controls.bias_before, evaluation.controls.bias_after
    return (before, after) if before and after else None
