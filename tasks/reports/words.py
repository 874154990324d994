"""A study's answer in sentences, and its numbers as they are written in the report."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pas.engine.decisions import Ties
from pas.evidence.checks import CHECKS, LIMITS, REAL, UNPROVEN
from pas.evidence.evaluation import Doubts
from pas.evidence.paired import Comparison
from pas.evidence.power import items_needed, smallest_gain
from pas.evidence.verdict import NO_FAULT
from pas.study.summary import Summary, TaskSummary

ALPHA = LIMITS.alpha
_PLACES = 6  # broken configurations that are named
_SAME = 1e-12  # less is rounding
_ASSUMED_FLIPS = 0.1  # share of the items, where none flipped and a rate is needed
_MARKS = {REAL: "good", UNPROVEN: "open"}
_MARKS |= dict.fromkeys(("no steering chosen", "not significant", "negligible"), "none")
_MARKS |= dict.fromkeys(("harmful", "more biased", "damaging"), "bad")
_MEANINGS = {REAL: NO_FAULT}
for _check in CHECKS:
    if _check.blocks:
        _MEANINGS.setdefault(_check.label, _check.fails.format(measured="not measured"))


def meaning(verdict: str) -> str:
    """Return what a verdict means, in a sentence."""
    return _MEANINGS.get(verdict, "This version does not know the verdict.")


def mark(verdict: str) -> str:
    """Return how a verdict is marked: "good", "bad", "warn", "open" or "none"."""
    return _MARKS.get(verdict, "warn" if verdict in _MEANINGS else "none")


def answer(summary: Summary, trained: int, names: Mapping[str, str]) -> str:
    """Say in one paragraph whether steering helped, and what the controls leave of the gain.

    Args:
        summary: Of the study.
        trained: Trainings, failed ones included.
        names: How each model is written.
    """
    failed, tasks = sum(r.setting == "main" for r in summary.failed), summary.tasks
    if not tasks:
        return f"There is no answer: no training finished, of {trained}."
    up = sum(t.test.mean > _SAME for t in tasks)
    down = sum(t.test.mean < -_SAME for t in tasks)
    said = [
        f"Steering raised the test accuracy in {up} of {plural(len(tasks), 'pair')} of model and "
        f"task, lowered it in {down}, and changed nothing in {len(tasks) - up - down}."
    ]
    tests = [t.adjusted_p for t in tasks if t.adjusted_p is not None]
    if tests:
        sure = sum(p < ALPHA for p in tests)
        said.append(
            f"Of {plural(len(tests), 'test')} over seeds, {sure} show a gain beyond chance."
        )
    else:
        said.append("No gain could be tested over seeds: that takes at least two unequal gains.")
    said.append(_controls(tasks, names))
    pooled = summary.pooled
    if pooled is not None and len(tasks) > 1:
        text = f"The mean gain is {signed(pooled.mean)}"
        # Gains that do not vary give an interval of no width, which is no evidence.
        if pooled.p_value is not None and pooled.ci_low is not None and pooled.ci_high is not None:
            text += f" (95 % interval {between(pooled.ci_low, pooled.ci_high)})"
        said.append(text + ".")
    if failed:
        said.append(f"{failed} of {plural(trained, 'training')} failed and are not in the numbers.")
    return " ".join(said)


def _controls(tasks: Sequence[TaskSummary], names: Mapping[str, str]) -> str:
    gained = [t for t in tasks if t.test.mean > _SAME]
    if not gained:
        return "There is no gain for the controls to judge."
    real = [t for t in gained if 2 * t.verdicts.get(REAL, 0) > len(t.seeds)]
    text = f"The controls call {len(real)} of {plural(len(gained), 'gain')} real in most seeds"
    if real:
        listed = [f"{t.task} on {names[t.model]} ({signed(t.test.mean)})" for t in real[:4]]
        text += ": " + ", ".join(listed) + (", …" if len(real) > 4 else "")
    others = Counter(
        label for t in gained if t not in real for label, _ in most_frequent(t.verdicts)
    )
    if others:
        why = ", ".join(f"{label} ({count})" for label, count in others.most_common())
        text += f"; the most frequent verdicts on the others: {why}"
    return text + "."


def power(test: Comparison) -> str:
    """Say which gain so many items show four times in five, and how many would show this one."""
    flips = test.w2r + test.r2w
    rate = flips / test.n or _ASSUMED_FLIPS
    least = smallest_gain(test.n, rate)
    shows = "are too few to show any gain" if least is None else f"show a gain of {signed(least)}"
    text = f"{plural(test.n, 'item')} {shows} four times in five"
    text += f", if {rate:.0%} of the answers flip" + ("" if flips else " (none did)")
    if test.w2r <= test.r2w:
        return text
    try:
        return f"{text}; {items_needed((test.w2r - test.r2w) / test.n, rate)} would show this one"
    except ValueError:
        return f"{text}; more than a million would be needed to show this one"


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
