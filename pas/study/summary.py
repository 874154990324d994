"""Tables of a study's results: by setting, model and task; pooled; and by arms.

docs/method.md, "Studies" and "Several seeds, models and tasks". As in the paper, each model and
task is tested over its seeds. P-values are also adjusted for the number of tests in the table, and
gains are pooled over models and tasks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from pas.evidence.pooled import Gain, PooledGain, pooled_gain
from pas.evidence.seeds import PairedTest, adjust, paired_t
from pas.study.results import SETTINGS, Setting, StudyResult

_TREATMENTS: tuple[Setting, ...] = ("icl", "sft")


@dataclass(frozen=True)
class TaskSummary:
    """The results of one model and task over its seeds, in one setting.

    Attributes:
        model: Name of the model in the study.
        task: Name of the task in the study.
        category: Category of the task.
        setting: Setting of the cells.
        variant: Variant of the cells, see `pas.study.results.StudyResult`.
        seeds: Seeds of the cells that did not fail.
        baseline_accuracy: Mean unsteered accuracy over seeds.
        steered_accuracy: Mean steered accuracy over seeds.
        test: One-sided paired t-test over seeds, as in the paper, with interval and effect size.
            Two-sided for "forgetting", where a loss is expected.
        adjusted_p: The p-value adjusted by Holm's method over the setting; None without a test.
        flips: Number of items that changed from wrong to right, and from right to wrong, over all
            seeds.
        neutral_kl: Mean damage over seeds, in nats per token; None if not measured.
        method_deltas: Mean gain of each estimator over seeds.
        verdicts: Number of cells with each verdict.
    """

    model: str
    task: str
    category: str
    setting: Setting
    variant: str
    seeds: tuple[int, ...]
    baseline_accuracy: float
    steered_accuracy: float
    test: PairedTest
    adjusted_p: float | None
    flips: tuple[int, int]
    neutral_kl: float | None
    method_deltas: dict[str, float]
    verdicts: dict[str, int]


class Arms(NamedTuple):
    """Mean accuracies of steering, of another treatment, and of both, over seeds that have all.

    Attributes:
        model: Name of the model in the study.
        task: Name of the task in the study.
        setting: The treatment: "icl" (exemplars) or "sft" (fine-tuned weights).
        seeds: Seeds with all four accuracies.
        plain: Accuracy of the model without a treatment or vector.
        steered: Accuracy with a vector.
        treated: Accuracy with the treatment.
        both: Accuracy with the treatment and a vector made under the treatment.
        treatment: Test of `treated` against `plain`.
        on_top: Test of `both` against `treated`: what steering adds to the treatment.
        over_steering: Test of `both` against `steered`: what the treatment adds to steering.
    """

    model: str
    task: str
    setting: Setting
    seeds: tuple[int, ...]
    plain: float
    steered: float
    treated: float
    both: float
    treatment: PairedTest
    on_top: PairedTest
    over_steering: PairedTest


@dataclass(frozen=True)
class Summary:
    """A study's tables.

    Attributes:
        tasks: Rows of the main setting.
        others: Rows of each other setting that was run, in the order of `SETTINGS`.
        pooled: The main setting's gains, pooled over models and tasks; None without gains.
        categories: Pooled gains of each category with several pairs of model and task.
        arms: Rows for each treatment, model and task.
        failed: Cells without a result.
    """

    tasks: tuple[TaskSummary, ...]
    others: dict[Setting, tuple[TaskSummary, ...]]
    pooled: PooledGain | None
    categories: dict[str, PooledGain]
    arms: tuple[Arms, ...]
    failed: tuple[StudyResult, ...]


def summarise(results: Sequence[StudyResult]) -> Summary:
    """Return a study's tables. Models and tasks are in the order of the results."""
    done = [r for r in results if not r.failed]
    by_setting = {s: [r for r in done if r.setting == s] for s in SETTINGS}
    main = by_setting["main"]
    categories = dict.fromkeys(r.category for r in main)
    several = {
        c for c in categories if len({(r.model, r.task) for r in main if r.category == c}) > 1
    }
    return Summary(
        tasks=_table(main),
        others={s: rows for s in SETTINGS[1:] if (rows := _table(by_setting[s]))},
        pooled=_pooled(main),
        categories={
            c: gain
            for c in categories
            if c in several and (gain := _pooled([r for r in main if r.category == c]))
        },
        arms=tuple(arms for s in _TREATMENTS for arms in _arms(main, by_setting[s])),
        failed=tuple(r for r in results if r.failed),
    )


def _table(done: Sequence[StudyResult]) -> tuple[TaskSummary, ...]:
    groups = _grouped(done, lambda r: (r.model, r.task, r.variant))
    tests = [
        paired_t(
            [r.baseline_accuracy for r in g],
            [r.steered_accuracy for r in g],
            "two-sided" if g[0].setting == "forgetting" else "greater",
        )
        for g in groups
    ]
    # One seed gives no test, and would only make the adjustment of the others stricter.
    tested = [t.p_value for t in tests if t.p_value is not None and t.n > 1]
    holm = iter(adjust(tested))
    rows = []
    for group, test in zip(groups, tests, strict=True):
        has_test = test.p_value is not None and test.n > 1
        first = group[0]
        rows.append(
            TaskSummary(
                first.model,
                first.task,
                first.category,
                first.setting,
                first.variant,
                seeds=tuple(r.seed for r in group),
                baseline_accuracy=fmean([r.baseline_accuracy for r in group]),
                steered_accuracy=fmean([r.steered_accuracy for r in group]),
                test=test,
                adjusted_p=next(holm) if has_test else None,
                flips=(sum(r.w2r for r in group), sum(r.r2w for r in group)),
                neutral_kl=fmean(known) if (known := _known_kl(group)) else None,
                method_deltas={
                    m: fmean([r.method_deltas[m] for r in group if m in r.method_deltas])
                    for m in dict.fromkeys(m for r in group for m in r.method_deltas)
                },
                verdicts=dict(Counter(r.verdict for r in group if r.verdict).most_common()),
            )
        )
    return tuple(rows)


def _arms(main: Sequence[StudyResult], treated: Sequence[StudyResult]) -> list[Arms]:
    plain = {(r.model, r.task, r.seed): r for r in main}
    rows = []
    for group in _grouped(treated, lambda r: (r.model, r.task)):
        pairs = [(plain[key], r) for r in group if (key := (r.model, r.task, r.seed)) in plain]
        if not pairs:
            continue
        base = [before.baseline_accuracy for before, _ in pairs]
        steered = [before.steered_accuracy for before, _ in pairs]
        other = [after.baseline_accuracy for _, after in pairs]
        both = [after.steered_accuracy for _, after in pairs]
        rows.append(
            Arms(
                group[0].model,
                group[0].task,
                group[0].setting,
                tuple(after.seed for _, after in pairs),
                fmean(base),
                fmean(steered),
                fmean(other),
                fmean(both),
                paired_t(base, other),
                paired_t(other, both),
                paired_t(steered, both),
            )
        )
    return rows


def _pooled(done: Sequence[StudyResult]) -> PooledGain | None:
    gains = [Gain(r.model, r.task, r.seed, r.delta) for r in done]
    return pooled_gain(gains) if gains else None


def _grouped(
    done: Iterable[StudyResult], key: Callable[[StudyResult], tuple[str, ...]]
) -> list[list[StudyResult]]:
    groups: dict[tuple[str, ...], list[StudyResult]] = {}
    for result in done:
        groups.setdefault(key(result), []).append(result)
    return list(groups.values())


def _known_kl(group: Sequence[StudyResult]) -> list[float]:
    return [r.neutral_kl for r in group if r.neutral_kl is not None]
