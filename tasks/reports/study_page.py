"""The report of a study: one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from pas.evidence.pooled import PooledGain
from pas.study.results import StudyResult
from pas.study.summary import Summary, TaskSummary
from tasks.reports import paper, words
from tasks.reports import study_settings as settings
from tasks.reports.figures import Interval, as_svg, forest
from tasks.reports.page import render
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
    return render(
        "study.html.j2",
        name=name,
        answer=words.answer(summary, len(main), names),
        results=results,
        summary=summary,
        pooled=pooled,
        names=names,
        others=summary.others,
        titles=settings.TITLES,
        samples=settings.samples(summary, names),
        forgetting=settings.forgetting(results, names),
        sweeps=settings.sweeps(runs or {}, names),
        labels=dict.fromkeys(r.verdict for r in results if r.verdict),
        forest=_forest(categories, pooled, names) if summary.tasks else "",
        methods=_methods(categories),
        baselines=_baselines(summary.tasks, list(names)),
        costs=_costs(results, names),
        facts={key: value for key, value in facts.items() if key != "reproduce"},
        reproduce=facts.get("reproduce", ""),
        paper=paper,
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


def _methods(categories: Mapping[str, Sequence[TaskSummary]]) -> dict[str, Any]:
    """Return the columns, and for each category each column's mean gain over its pairs."""
    tried = {m for group in categories.values() for t in group for m in t.method_deltas}
    columns = [*paper.METHOD_NAMES, *sorted(tried - set(paper.METHOD_NAMES))]
    rows = []
    for title, group in categories.items():
        found = {m: [t.method_deltas[m] for t in group if m in t.method_deltas] for m in columns}
        rows.append((title, len(group), {m: fmean(d) if d else None for m, d in found.items()}))
    return {"columns": columns, "rows": rows}


def _baselines(
    tasks: Sequence[TaskSummary], models: Sequence[str]
) -> list[tuple[str, list[float | None], paper.PaperTask]]:
    """Return the unsteered accuracies of the study and the paper, for tasks that both have."""
    found = {(t.task, t.model): t.baseline_accuracy for t in tasks}
    both = [task for task in dict.fromkeys(t.task for t in tasks) if task in paper.TASKS]
    return [(task, [found.get((task, m)) for m in models], paper.TASKS[task]) for task in both]


def _costs(
    results: Sequence[StudyResult], names: Mapping[str, str]
) -> list[tuple[str, tuple[int, str, str]]]:
    """Return for each model the number of its trainings, their time in all, and its median."""
    spent: dict[str, list[float]] = {}
    for result in results:
        if not result.failed:
            spent.setdefault(names[result.model], []).append(result.seconds)
    return [
        (name, (len(times), words.duration(sum(times)), words.duration(median(times))))
        for name, times in spent.items()
    ]
