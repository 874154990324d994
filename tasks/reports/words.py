"""A study's answer in sentences, and its numbers as they are written in the report."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pas.engine.decisions import Ties
from pas.evidence.checks import Limits
from pas.evidence.evaluation import Doubts
from pas.study.summary import Summary, TaskSummary

ALPHA = Limits().alpha
_PLACES = 6  # broken configurations that are named
_SAME = 1e-12  # less is rounding

# Each label with how it is marked, and what it means. Marks never stand without the word.
VERDICTS = {
    "real": ("good", "A significant gain that none of its controls explains away."),
    "unproven": ("open", "A significant gain, but a control that it needs was not measured."),
    "no steering chosen": ("none", "No vector was better than none on the validation items."),
    "not significant": ("none", "The test items show no gain that chance would not give."),
    "negligible": ("none", "The gain is significant and too small to be of use."),
    "harmful": ("bad", "Steered answers are correct less often, by more than chance."),
    "letter artefact": (
        "warn",
        "The gain comes from the letters, not from the answers behind them.",
    ),
    "no better than one letter": ("warn", "Always giving one letter would be correct as often."),
    "format artefact": ("warn", "Steering changes how often the model answers with a letter."),
    "always unknown": (
        "warn",
        "The model says “unknown” nearly always, which is correct for half the items.",
    ),
    "evasive": ("warn", "More “unknown”, paid for with questions that can be answered."),
    "not better than a random direction": (
        "warn",
        "A push of the same size in a random direction does as well.",
    ),
    "leaky split": ("warn", "Siblings of test items were in training: the gain may be memory."),
    "more biased": ("bad", "The remaining errors follow the stereotype more often."),
    "damaging": ("bad", "Steering changes the model where it should change nothing."),
}
UNKNOWN_VERDICT = ("none", "This version does not know the verdict.")


def answer(summary: Summary, trained: int, names: Mapping[str, str]) -> str:
    """Say in one paragraph whether steering helped, and what the controls leave of the gain.

    Args:
        summary: Of the study.
        trained: Trainings, failed ones included.
        names: How each model is written.
    """
    failed = sum(r.setting == "main" for r in summary.failed)
    if not summary.tasks:
        return f"There is no answer: {_all_failed(trained)}, so nothing was measured."
    said = [_direction(summary.tasks), _over_seeds(summary.tasks), _controls(summary.tasks, names)]
    if summary.pooled is not None and len(summary.tasks) > 1:
        found = summary.pooled
        text = f"Over all of them the mean gain is {signed(found.mean)}"
        # Gains that do not vary give an interval of no width, which is no evidence.
        if found.p_value is not None and found.ci_low is not None and found.ci_high is not None:
            where = (
                "above zero"
                if found.ci_low > 0
                else "below zero"
                if found.ci_high < 0
                else "and zero is among what it may be"
            )
            text += f" (95 % interval {between(found.ci_low, found.ci_high)}), {where}"
        said.append(text + ".")
    if failed:
        said.append(
            f"{failed} of {plural(trained, 'training')} failed and "
            f"{'is' if failed == 1 else 'are'} not in these numbers."
        )
    return " ".join(said)


def _all_failed(trained: int) -> str:
    few = {0: "there was no training", 1: "the only training failed", 2: "both trainings failed"}
    return few.get(trained, f"all {trained} trainings failed")


def _direction(tasks: Sequence[TaskSummary]) -> str:
    up = sum(t.test.mean > _SAME for t in tasks)
    down = sum(t.test.mean < -_SAME for t in tasks)
    level = len(tasks) - up - down
    if len(tasks) == 1:
        word = "raised" if up else "lowered" if down else "did not change"
        return (
            f"Steering {word} the test accuracy of the only model and task "
            f"({plain(tasks[0].baseline_accuracy)} unsteered, "
            f"{plain(tasks[0].steered_accuracy)} steered)."
        )
    text = f"Steering raised the test accuracy in {up} of {len(tasks)} pairs of model and task"
    rest = [f"lowered it in {down}"] * bool(down) + [f"changed nothing in {level}"] * bool(level)
    if rest:
        text += (" and " if len(rest) == 1 else ", ") + " and ".join(rest)
    return text + "."


def _over_seeds(tasks: Sequence[TaskSummary]) -> str:
    tested = [t for t in tasks if has_test(t)]
    if not tested:
        return "No gain could be tested over seeds: that takes at least two, with unequal gains."
    sure = sum(t.adjusted_p is not None and t.adjusted_p < ALPHA for t in tested)
    if len(tested) == 1 == len(tasks):
        return f"Over its seeds the gain is {'' if sure else 'not '}beyond chance."
    which = (
        f"the {len(tested)} that have a test over seeds"
        if len(tested) > 1
        else ("the only one with a test over seeds")
    )
    if not sure:
        return f"None of {which} gains more than chance would give (5 %, Holm-adjusted)."
    return f"Of {which}, {sure} {'gains' if sure == 1 else 'gain'} beyond chance (Holm-adjusted)."


def _controls(tasks: Sequence[TaskSummary], names: Mapping[str, str]) -> str:
    gained = [t for t in tasks if t.test.mean > _SAME]
    if not gained:
        return "There is no gain for the controls to judge."
    real = [t for t in gained if 2 * t.verdicts.get("real", 0) > len(t.seeds)]
    others = Counter(
        label for t in gained if t not in real for label, _ in most_frequent(t.verdicts)
    )
    why = ", ".join(f"{label} ({count})" for label, count in others.most_common())
    if not real:
        return (
            "None of it survives the controls in most of its seeds; what they say most often: "
            f"{why}."
        )
    listed = ", ".join(
        f"{t.task} on {names[t.model]} ({signed(t.test.mean)})" for t in real[:4]
    ) + (", …" if len(real) > 4 else "")
    if len(real) == len(gained):
        return f"The controls call {'it' if len(real) == 1 else 'all of it'} real: {listed}."
    return (
        f"The controls call {len(real)} of these {len(gained)} gains real in most seeds: {listed}; "
        f"of the others they say most often: {why}."
    )


def has_test(task: TaskSummary) -> bool:
    """Tell whether there is a test over seeds; one seed gives none, even where it gains nothing."""
    return task.test.n > 1 and task.test.p_value is not None


def most_frequent(verdicts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the verdict given most often and its count; all of them if they tie."""
    most = max(verdicts.values(), default=0)
    return [(label, count) for label, count in verdicts.items() if count == most]


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Return the last part of each model's name or path, or the whole where that is ambiguous."""
    last = {model: model.rstrip("/").rpartition("/")[2] or model for model in models}
    times = Counter(last.values())
    return {model: name if times[name] == 1 else model for model, name in last.items()}


def doubts(found: Doubts | None, ties: Ties) -> list[tuple[str, str, str]]:
    """Return rows (what, measured, note) about answers without a single highest score.

    Args:
        found: Of the evaluation.
        ties: Which one of equally high scores was taken.
    """
    rows: list[tuple[str, str, str]] = []
    if found is None:
        return rows
    if found.ties:
        taken = "the first one counts" if ties == "first" else "one is drawn by the item's id"
        note = f"answers with several choices of exactly the highest score; {taken}"
        rows.append(("exact ties", f"{found.ties} of {found.answers}", note))
    if found.broken:
        places = [
            f"{at.method} layer {at.layer} × {at.strength:g} ({plural(n, 'item')})"
            for at, n in found.broken[:_PLACES]
        ]
        more = len(found.broken) - len(places)
        rest = [f"{more} more"] if more else []
        rows.append(
            (
                "broken configurations",
                str(len(found.broken)),
                f"scores are not finite, so they cannot be selected: {', '.join(places + rest)}",
            )
        )
    if found.undecided:
        note = "test items with scores that are not finite when steered; they count as wrong"
        rows.append(("no answer", str(found.undecided), note))
    return rows


def plain(value: float | None) -> str:
    """Write an accuracy."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Write a gain, with its sign."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def between(low: float, high: float, digits: int = 3) -> str:
    """Write an interval of gains."""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def p_value(value: float | None) -> str:
    """Write a p-value."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plural(count: int, word: str) -> str:
    """Write a count of things."""
    return f"{count} {word}{'' if count == 1 else 's'}"
