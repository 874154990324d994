"""The report of a study: one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from pas.evidence.pooled import PooledGain
from pas.study.results import StudyResult
from pas.study.summary import Summary, TaskSummary
from tasks.reports import paper, words
from tasks.reports import study_settings as settings
from tasks.reports.figures import Interval, as_svg, forest
from tasks.reports.page import Badge, badges, environment
from tasks.reports.study_runs import PairRuns

_CATEGORIES = ("bias", "morality", "alignment", "intelligence", "demo", "own")


def study_page(
    name: str,
    results: Sequence[StudyResult],
    summary: Summary,
    facts: Mapping[str, str],
    runs: Mapping[tuple[str, str], PairRuns] | None = None,
) -> str:
    """Write the page.

    Args:
        name: Of the study.
        results: All of them, failed ones included.
        summary: Of the results.
        facts: More facts, such as the date; "reproduce" is the command that repeats the study.
        runs: Sweeps and flips, by model and task; see `tasks.reports.study_runs.gather`.
    """
    main = [r for r in results if r.setting == "main"]
    names = words.short_names(list(dict.fromkeys(r.model for r in results)))
    pooled = summary.pooled if len(summary.tasks) > 1 else None  # of one pair it is the same
    categories = _by_category(summary.tasks)
    return (
        environment()
        .get_template("study.html.j2")
        .render(
            name=name,
            answer=words.answer(summary, len(main), names),
            results=results,
            summary=summary,
            pooled=pooled,
            names=names,
            grid=_grid(main, summary),
            others=settings.others(summary),
            titles=settings.TITLES,
            samples=settings.samples(summary, names),
            forgetting=settings.forgetting(results, names),
            sweeps=settings.sweeps(runs or {}, names),
            verdicts=[
                (label, *words.VERDICTS.get(label, words.UNKNOWN_VERDICT))
                for label in dict.fromkeys(r.verdict for r in results if r.verdict)
            ],
            forest=_forest(categories, pooled, names) if summary.tasks else "",
            methods=_methods(categories),
            baselines=_baselines(summary.tasks, list(names)),
            costs=_costs(results, names),
            facts={key: value for key, value in facts.items() if key != "reproduce"},
            reproduce=facts.get("reproduce", ""),
            paper=paper,
        )
    )


def _by_category(tasks: Iterable[TaskSummary]) -> dict[str, list[TaskSummary]]:
    found: dict[str, list[TaskSummary]] = {}
    for task in tasks:
        found.setdefault(task.category, []).append(task)
    order = {category: i for i, category in enumerate(_CATEGORIES)}
    ranked = sorted(found, key=lambda category: order.get(category, len(order)))
    return {category.capitalize(): found[category] for category in ranked}


def _forest(
    categories: Mapping[str, Sequence[TaskSummary]],
    pooled: PooledGain | None,
    names: Mapping[str, str],
) -> str:
    rows = []
    for title, group in categories.items():
        rows.append(Interval(title))
        for t in group:
            sure = t.adjusted_p is not None and t.adjusted_p < words.ALPHA
            rows.append(
                Interval(
                    f"{t.task}, {names[t.model]}",
                    t.test.mean,
                    t.test.ci_low,
                    t.test.ci_high,
                    "sure" if sure else "unsure",
                )
            )
    if pooled is not None:
        rows.append(Interval("All, pooled", pooled.mean, pooled.ci_low, pooled.ci_high, "pooled"))
    return as_svg(forest(rows))


class _Square(NamedTuple):
    """One model and task at a glance."""

    badges: list[Badge]
    gain: float | None
    failed: int


def _grid(
    results: Sequence[StudyResult], summary: Summary
) -> dict[tuple[str, str], dict[str, _Square]]:
    """Return for each task, named with its category, a square for each model that has it."""
    done = {(t.model, t.task): t for t in summary.tasks}
    grid: dict[tuple[str, str], dict[str, _Square]] = {}
    for model, task, category in dict.fromkeys((r.model, r.task, r.category) for r in results):
        found = done.get((model, task))
        failed = sum((r.model, r.task, r.setting) == (model, task, "main") for r in summary.failed)
        most = dict(words.most_frequent(found.verdicts)) if found else {}
        given = [b._replace(of=len(found.seeds)) for b in badges(most)] if found else []
        grid.setdefault((task, category), {})[model] = _Square(
            given, found.test.mean if found else None, failed
        )
    return grid


def _methods(categories: Mapping[str, Sequence[TaskSummary]]) -> dict[str, Any]:
    """Return the columns, and for each category each column's mean gain over its pairs."""
    tried = {m for group in categories.values() for t in group for m in t.method_deltas}
    columns = [*paper.METHOD_NAMES, *sorted(tried - set(paper.METHOD_NAMES))]
    rows = []
    for title, group in categories.items():
        found = {m: [t.method_deltas[m] for t in group if m in t.method_deltas] for m in columns}
        rows.append((title, len(group), {m: _mean(deltas) for m, deltas in found.items()}))
    return {"columns": columns, "rows": rows}


def _baselines(
    tasks: Sequence[TaskSummary], models: Sequence[str]
) -> list[tuple[str, list[float | None], paper.PaperTask]]:
    """Return the unsteered accuracies of the study and the paper, for tasks that both have."""
    found = {(t.task, t.model): t.baseline_accuracy for t in tasks}
    both = [task for task in dict.fromkeys(t.task for t in tasks) if task in paper.TASKS]
    return [(task, [found.get((task, m)) for m in models], paper.TASKS[task]) for task in both]


def _costs(results: Sequence[StudyResult], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what each model's trainings took, and all of them."""
    done = [r for r in results if not r.failed]
    groups = {names[model]: [r for r in done if r.model == model] for model in names}
    if len(groups) > 1:
        groups["all"] = done
    return [
        {
            "name": name,
            "count": len(group),
            "total": sum(r.seconds for r in group),
            "median": median(r.seconds for r in group),
            "slowest": max(group, key=lambda r: r.seconds),
        }
        for name, group in groups.items()
        if group
    ]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
