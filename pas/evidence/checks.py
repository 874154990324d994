"""The table of checks: what each measures, its limit, and whether it blocks a promotion.

This table alone decides whether a gain is real. The verdict, the promotion, the reports, the
command line and the README use it. docs/method.md, "Verdict".
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from pas.evidence.clusters import FEW_GROUPS
from pas.evidence.controls import Controls

VERSION = 1
"""Version of the table. It increases when a check, its limit or the order changes."""

REAL, UNPROVEN = "real", "unproven"


@dataclass(frozen=True)
class Limits:
    """The limits of the checks, with their reasons. Gains and losses are in accuracy.

    Attributes:
        alpha: Significance level of p-values; the usual one.
        gain: Smallest gain in test accuracy. A smaller gain is not worth using a vector.
        kept_gain: Share of the gain that must remain with the choices re-shuffled. The order
            should change nothing. Half allows for chance; nothing remains of an artefact.
        one_letter: Share of answers on one letter from which the model is taken to give that
            letter for any question. Correct answers are distributed over the letters.
        random_directions: Smallest number of random directions. A useless vector beats all k of
            them with probability 1 / (k + 1), which is 9 % for 10.
        leaked_groups: Largest share of test groups that also occur in training. A split by group
            has none; 1 % (a stray duplicate) cannot cause a gain.
        always_unknown: Share of "unknown" answers. "unknown" is correct in half of BBQ, so at 0.8
            it is also the answer to most answerable questions.
        answerable_loss: Largest loss of accuracy on answerable (disambiguated) items, while
            "unknown" becomes more frequent. BBQ gives both kinds of item the same weight.
        bias_rise: Largest increase of a bias score's absolute value. At 0.1, one in twenty of the
            answers that name somebody has changed sides; less is chance over a few hundred
            answers.
        format_change: Largest change of the share outside the letters. If it is more than a
            quarter, steered and unsteered answers are not of the same kind.
        neutral_kl: Largest divergence on neutral text, in nats per token. At 0.1 the perplexity of
            the model's own text grows by about a tenth.
        other_loss: Largest significant loss of accuracy on another task.
        groups: Smallest number of groups of test items, see `pas.evidence.clusters.FEW_GROUPS`.
    """

    alpha: float = 0.05
    gain: float = 0.02
    kept_gain: float = 0.5
    one_letter: float = 0.9
    random_directions: int = 10
    leaked_groups: float = 0.01
    always_unknown: float = 0.8
    answerable_loss: float = 0.02
    bias_rise: float = 0.1
    format_change: float = 0.25
    neutral_kl: float = 0.1
    other_loss: float = 0.02
    groups: int = FEW_GROUPS


class Reading(NamedTuple):
    """The result of a check's measurement.

    Attributes:
        passed: Whether the limit is met.
        measured: The measured value, in words.
        explanation: The meaning of the result, in a sentence.
    """

    passed: bool
    measured: str
    explanation: str


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Attributes:
        name: Name of the check.
        label: The verdict if this check is the first to fail.
        measures: What the check measures.
        limit: The condition to meet, as a format string with fields of `Limits`.
        read: Evaluates the controls; returns None if the control was not measured.
        blocks: Whether a failure blocks a promotion. Otherwise it is a warning.
    """

    name: str
    label: str
    measures: str
    limit: str
    read: Callable[[Controls, Limits], Reading | None]
    blocks: bool = True

    def needed(self, limits: Limits) -> str:
        """Return the condition with the numbers of `limits`."""
        return self.limit.format(**asdict(limits))


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        check: Name of the check.
        label: The verdict if this check is the first to fail.
        passed: Whether the limit is met.
        blocks: Whether a failure blocks a promotion.
        measured: The measured value, in words.
        needed: The condition to meet.
        explanation: The meaning of the result, in a sentence.
    """

    check: str
    label: str
    passed: bool
    blocks: bool
    measured: str
    needed: str
    explanation: str

    @property
    def result(self) -> str:
        """The outcome: "passed", "failed" (which blocks a promotion) or "warning"."""
        return "passed" if self.passed else "failed" if self.blocks else "warning"


def apply(check: Check, controls: Controls, limits: Limits) -> Finding | None:
    """Return the finding of one check; None if its control was not measured."""
    reading = check.read(controls, limits)
    if reading is None:
        return None
    return Finding(
        check.name,
        check.label,
        reading.passed,
        check.blocks,
        reading.measured,
        check.needed(limits),
        reading.explanation,
    )


def table(limits: Limits | None = None) -> list[tuple[str, str, str, str, str]]:
    """Return a row per check: name, what it measures, limit, consequence of a failure, verdict.

    Args:
        limits: The limits to show; `Limits()` by default.
    """
    limits = limits or Limits()
    return [
        (
            check.name,
            check.measures,
            check.needed(limits),
            "blocks promotion" if check.blocks else "warns",
            check.label,
        )
        for check in CHECKS
    ]


def markdown() -> str:
    """Return the table of checks as Markdown, as the README shows it."""
    header = ("check", "what it measures", "limit", "a failure", "verdict")
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in table()]
    return "\n".join(lines) + "\n"


def _chosen(c: Controls, _: Limits) -> Reading:
    passed = c.strength != 0
    return Reading(
        passed,
        f"strength {c.strength:g}",
        "Validation chose to steer."
        if passed
        else "No vector was better than none on validation, so there is no gain to judge.",
    )


def _harm(c: Controls, limits: Limits) -> Reading:
    passed = c.test.delta >= 0 or c.test.p_value >= limits.alpha
    return Reading(
        passed,
        f"gain {c.test.delta:+.4f}, p {c.test.p_value:.3g}",
        "Steering does not lower the accuracy by more than chance."
        if passed
        else "Steered answers are correct less often than unsteered ones, by more than chance.",
    )


def _significance(c: Controls, limits: Limits) -> Reading:
    passed = c.test.delta > 0 and c.test.p_value < limits.alpha
    return Reading(
        passed,
        f"gain {c.test.delta:+.4f}, p {c.test.p_value:.3g}",
        "The test items show a gain beyond chance."
        if passed
        else f"{c.test.n} test items show no gain beyond chance.",
    )


def _significance_over_groups(c: Controls, limits: Limits) -> Reading | None:
    if c.clustered is None:
        return None
    p = c.clustered.p_value
    # No p-value: all groups gain alike, or there is one group and nothing to test with.
    alike = p is None and c.clustered.n_groups > 1
    passed = c.clustered.mean > 0 and (alike or (p is not None and p < limits.alpha))
    shown = "none" if p is None else f"{p:.3g}"
    return Reading(
        passed,
        f"p {shown}, {c.clustered.n_groups} groups",
        "The gain is beyond chance with whole groups of items as the units."
        if passed
        else "The gain comes from too few groups of similar items to rule out chance.",
    )


def _gain(c: Controls, limits: Limits) -> Reading:
    passed = _within(limits.gain, c.test.delta)
    return Reading(
        passed,
        f"gain {c.test.delta:+.4f}",
        "The gain is large enough to be of use."
        if passed
        else "The gain is too small to be of use.",
    )


def _survives(c: Controls, limits: Limits) -> bool | None:
    if c.reshuffled is None:
        return None
    kept = _within(limits.kept_gain * c.test.delta, c.reshuffled.delta)
    return c.reshuffled.delta > 0 and kept


def _reshuffled(c: Controls, limits: Limits) -> Reading | None:
    passed = _survives(c, limits)
    if passed is None or c.reshuffled is None:
        return None
    return Reading(
        passed,
        f"gain {c.reshuffled.delta:+.4f} instead of {c.test.delta:+.4f}",
        "The gain stays with the choices in another order."
        if passed
        else "The gain disappears with the choices in another order: it is a gain of letters.",
    )


def _one_letter(c: Controls, limits: Limits) -> Reading | None:
    if c.top_letter_after is None:
        return None
    before = c.top_letter_before
    caused = before is None or c.top_letter_after > before
    collapsed = c.top_letter_after >= limits.one_letter and caused
    # If all labels are one letter, so are correct answers. Only another order can distinguish them.
    passed = not collapsed or _survives(c, limits) is True
    start = "" if before is None else f", {before:.1%} before"
    return Reading(
        passed,
        f"{c.top_letter_after:.1%} of answers on one letter{start}",
        "The steered model does not owe its gain to one letter."
        if passed
        else "The steered model gives the same letter to nearly all questions.",
    )


def _constant_letter(c: Controls, _: Limits) -> Reading | None:
    # Another order is the fairer test: the published protocol has tasks with one correct letter.
    if c.reshuffled is not None and c.reshuffled_constant is not None:
        steered, constant = c.reshuffled.steered_accuracy, c.reshuffled_constant
        where = " with the choices re-shuffled"
    elif c.constant_accuracy is not None:
        steered, constant, where = c.test.steered_accuracy, c.constant_accuracy, ""
    else:
        return None
    passed = steered > constant
    return Reading(
        passed,
        f"accuracy {steered:.4f}{where}, best letter {constant:.4f}",
        "Steered answers beat always giving the best letter."
        if passed
        else "Always giving the same letter is correct as often, without reading the question.",
    )


def _answer_format(c: Controls, limits: Limits) -> Reading | None:
    if c.outside_before is None or c.outside_after is None:
        return None
    change = c.outside_after - c.outside_before
    passed = _within(abs(change), limits.format_change)
    if passed:
        why = "Steered and unsteered answers are letters about equally often."
    elif change < 0:
        why = "Steering makes the model answer with a letter, which need not be a better answer."
    else:
        why = "Steering makes the model say something other than a letter."
    return Reading(
        passed,
        f"{c.outside_after:.1%} outside the letters, {c.outside_before:.1%} before",
        why,
    )


def _always_unknown(c: Controls, limits: Limits) -> Reading | None:
    if c.bias_before is None or c.bias_after is None:
        return None
    if c.bias_after.accuracy_disambiguated is None:
        return None  # "unknown" is correct in all other items
    before, after = c.bias_before.unknown, c.bias_after.unknown
    passed = after < limits.always_unknown or after <= before
    return Reading(
        passed,
        f'{after:.1%} "unknown", {before:.1%} before',
        'The steered model does not say "unknown" to everything.'
        if passed
        else 'The steered model says "unknown" nearly always, which is correct in half the items.',
    )


def _answerable_items(c: Controls, limits: Limits) -> Reading | None:
    if c.bias_before is None or c.bias_after is None:
        return None
    before, after = c.bias_before.accuracy_disambiguated, c.bias_after.accuracy_disambiguated
    if before is None or after is None:
        return None
    passed = _within(before - after, limits.answerable_loss) or (
        c.bias_after.unknown <= c.bias_before.unknown
    )
    return Reading(
        passed,
        f"accuracy {after:.4f}, {before:.4f} before",
        "Questions that the context answers are still answered."
        if passed
        else 'The gain is more "unknown", at the cost of questions that the context answers.',
    )


def _random_direction(c: Controls, _: Limits) -> Reading | None:
    if not c.random_accuracies:
        return None
    best, k = max(c.random_accuracies), len(c.random_accuracies)
    passed = c.test.steered_accuracy > best
    return Reading(
        passed,
        f"accuracy {c.test.steered_accuracy:.4f}, best of {k} random directions {best:.4f}",
        "The vector does more than a push of the same size in a random direction."
        if passed
        else "A push of the same size in a random direction does as well.",
    )


def _split(c: Controls, limits: Limits) -> Reading | None:
    if c.leaked_groups is None or not c.test_groups:
        return None
    passed = _within(c.leaked_groups / c.test_groups, limits.leaked_groups)
    return Reading(
        passed,
        f"{c.leaked_groups} of {c.test_groups} test groups also in training",
        "Training saw no item of the test items' groups."
        if passed
        else "Training saw items of the same groups, so the gain may be memory.",
    )


def _bias_score(c: Controls, limits: Limits) -> Reading | None:
    if c.bias_before is None or c.bias_after is None:
        return None
    pairs = [
        (name, before, after)
        for name, before, after in (
            ("ambiguous", c.bias_before.ambiguous, c.bias_after.ambiguous),
            ("disambiguated", c.bias_before.disambiguated, c.bias_after.disambiguated),
        )
        if before is not None and after is not None
    ]
    if not pairs:
        return None
    passed = all(_within(abs(after) - abs(before), limits.bias_rise) for _, before, after in pairs)
    return Reading(
        passed,
        ", ".join(f"{name} {after:+.3f}, {before:+.3f} before" for name, before, after in pairs),
        "The remaining errors follow the stereotype no more than before."
        if passed
        else "Answers are correct more often, but the errors follow the stereotype more.",
    )


def _damage(c: Controls, limits: Limits) -> Reading | None:
    parts, damaged = [], False
    if c.neutral_kl is not None:
        parts.append(f"{c.neutral_kl:.3g} nats per token on neutral text")
        damaged = not _within(c.neutral_kl, limits.neutral_kl)
    if c.other_task is not None:
        parts.append(f"gain {c.other_task.delta:+.4f} on another task")
        by_chance = c.other_task.p_value >= limits.alpha
        damaged = damaged or not (_within(-c.other_task.delta, limits.other_loss) or by_chance)
    if not parts:
        return None
    return Reading(
        not damaged,
        ", ".join(parts),
        "Steering changes other text little."
        if not damaged
        else "Steering changes the model on text and tasks that it should leave unchanged.",
    )


def _controls(c: Controls, limits: Limits) -> Reading:
    absent = {
        f"{limits.random_directions} random directions": len(c.random_accuracies)
        < limits.random_directions,
        "choices re-shuffled": c.letters and c.reshuffled is None,
        "the best constant letter": c.letters
        and c.constant_accuracy is None
        and c.reshuffled_constant is None,
        "damage to neutral text": c.neutral_kl is None,
    }
    missing = [name for name, is_absent in absent.items() if is_absent]
    return Reading(
        not missing,
        f"not measured: {', '.join(missing)}" if missing else "all",
        "Everything that a real gain needs was measured."
        if not missing
        else f"Not measured: {', '.join(missing)}. Without it no gain is called real.",
    )


def _groups(c: Controls, limits: Limits) -> Reading | None:
    if c.clustered is None:
        return None
    passed = c.clustered.n_groups >= limits.groups
    return Reading(
        passed,
        f"{c.clustered.n_groups} groups",
        "There are enough groups for the p-value over groups."
        if passed
        else "With so few groups the p-value over groups is too small.",
    )


# First whether there is a gain. Then whether it consists of something other than better answers,
# whether a random direction or the split explains it, what it costs, and what was not measured.
CHECKS: Sequence[Check] = (
    Check(
        "steering chosen",
        "no steering chosen",
        "Whether validation preferred a vector to none",
        "a strength other than 0",
        _chosen,
    ),
    Check(
        "harm",
        "harmful",
        "Loss of test accuracy",
        "no loss with p below {alpha:g} (exact McNemar)",
        _harm,
    ),
    Check(
        "significance",
        "not significant",
        "Gain in test accuracy over items",
        "a gain with p below {alpha:g} (exact McNemar)",
        _significance,
    ),
    Check(
        "significance over groups",
        "not significant",
        "Gain in test accuracy over groups of items",
        "a gain with p below {alpha:g} (cluster-robust)",
        _significance_over_groups,
    ),
    Check("size of the gain", "negligible", "Gain in test accuracy", "at least {gain:+g}", _gain),
    Check(
        "re-shuffled choices",
        "letter artefact",
        "Gain on the test items with the choices in another order",
        "above 0 and at least {kept_gain:.0%} of the gain",
        _reshuffled,
    ),
    Check(
        "one letter",
        "letter artefact",
        "Share of answers on the letter that is answered most",
        "below {one_letter:.0%}, or not more than before, or a gain in another order",
        _one_letter,
    ),
    Check(
        "constant letter",
        "no better than one letter",
        "Accuracy against always giving the best letter",
        "above the best letter",
        _constant_letter,
    ),
    Check(
        "answer format",
        "format artefact",
        "Share of the answers' probability outside the letters",
        "a change of at most {format_change:.0%}",
        _answer_format,
    ),
    Check(
        "always unknown",
        "always unknown",
        'Share of "unknown" answers (BBQ)',
        "below {always_unknown:.0%}, or not more than before",
        _always_unknown,
    ),
    Check(
        "answerable items",
        "evasive",
        "Accuracy on questions that the context answers (BBQ)",
        'a loss of at most {answerable_loss:g}, or no more "unknown" answers',
        _answerable_items,
    ),
    Check(
        "random direction",
        "not better than a random direction",
        "Test accuracy against random directions of the same norm",
        "above the best of them",
        _random_direction,
    ),
    Check(
        "split",
        "leaky split",
        "Groups of the test items that training shares",
        "at most {leaked_groups:.0%}",
        _split,
    ),
    Check(
        "bias score",
        "more biased",
        "Bias scores of the answers (BBQ)",
        "no further from 0 by more than {bias_rise:g}",
        _bias_score,
    ),
    Check(
        "damage",
        "damaging",
        "Divergence on neutral text, and loss on another task",
        "at most {neutral_kl:g} nats per token; no loss above {other_loss:g} beyond chance",
        _damage,
    ),
    Check(
        "controls",
        UNPROVEN,
        "Whether every control that a real gain needs was measured",
        "{random_directions} random directions and damage; with letters also re-shuffled choices "
        "and the best letter",
        _controls,
    ),
    Check(
        "number of groups",
        "few groups",
        "Groups of the test items",
        "at least {groups}",
        _groups,
        blocks=False,
    ),
)


def _within(value: float, limit: float) -> bool:
    # 0.80 - 0.78 is above 0.02 in floating point.
    return value <= limit + 1e-9
