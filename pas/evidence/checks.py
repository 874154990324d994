"""The checks of a result: each reads its controls, says what it found, and whether that will do.

A check returns None where its control was not measured. `verdicts.py` orders them.
"""

from dataclasses import dataclass
from typing import NamedTuple

from pas.evidence.controls import Controls


@dataclass(frozen=True)
class Limits:
    """What a finding must reach, each with its reason.

    Attributes:
        alpha: Largest p-value; the usual one.
        kept_gain: Share of the gain to be left with the choices re-shuffled. The order should
            change nothing; half leaves room for chance, and an artefact keeps nothing.
        one_letter: Share of answers on one letter from which on the model answers that letter
            whatever the question. Labels spread over the letters, so that good answers do too.
        random_directions: Fewest random directions. A useless vector beats all k of them with
            probability 1 / (k + 1): 9 % for 10.
        leaked_groups: Largest share of test groups that training shares. A split by group
            leaks none; 1 % (a stray duplicate) cannot carry a gain.
        always_unknown: Share of "unknown" answers. It is right in half of BBQ, so 0.8 means that
            most answerable questions get it too.
        answerable_loss: Largest loss of accuracy in answerable (disambiguated) items, while
            "unknown" becomes more frequent. BBQ weighs both kinds of item alike.
        bias_rise: Largest rise of a bias score's size. 0.1 means that one in twenty of the answers
            that name somebody has changed sides; less is chance over a few hundred answers.
        format_change: Largest change of the share outside the letters. Beyond a quarter of the
            answers, the two sides do not answer the same kind of question.
        neutral_kl: Largest divergence on neutral text in nats a token; at 0.1 the perplexity of
            the model's own text grows by a tenth.
        other_loss: Largest loss of accuracy on another task, if more than chance. The gain that
            promotion asks for (`gates.Thresholds.min_delta`) should not be paid elsewhere.
    """

    alpha: float = 0.05
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


class Finding(NamedTuple):
    """One check: what was measured, what was needed, and what that means in a sentence."""

    check: str
    passed: bool
    measured: str
    needed: str
    explanation: str


def chosen(c: Controls, _: Limits) -> Finding:
    """Validation preferred a vector to none."""
    passed = c.strength != 0
    return Finding(
        "steering chosen", passed, f"strength {c.strength:g}", "a strength other than 0",
        "Validation chose to steer." if passed else
        "No vector was better than none on validation, so there is no gain to judge.",
    )  # fmt: skip


def harm(c: Controls, limits: Limits) -> Finding:
    """The accuracy does not drop."""
    passed = c.test.delta >= 0 or c.test.p_value >= limits.alpha
    return Finding(
        "harm", passed, f"delta {c.test.delta:+.4f}, p {c.test.p_value:.3g}",
        f"no loss with p below {limits.alpha:g}",
        "Steering does not lower the accuracy by more than chance." if passed else
        "Steered answers are right less often than unsteered ones, by more than chance.",
    )  # fmt: skip


def significance(c: Controls, limits: Limits) -> Finding:
    """The gain is beyond chance over items."""
    passed = c.test.delta > 0 and c.test.p_value < limits.alpha
    return Finding(
        "significance", passed, f"delta {c.test.delta:+.4f}, p {c.test.p_value:.3g}",
        f"a gain with p below {limits.alpha:g} (exact McNemar)",
        "The test items show a gain beyond chance." if passed else
        f"{c.test.n} test items show no gain that chance would not give.",
    )  # fmt: skip


def significance_over_groups(c: Controls, limits: Limits) -> Finding | None:
    """The gain is beyond chance over groups of items."""
    if c.clustered is None:
        return None
    p = c.clustered.p_value
    # No p-value: all groups gain alike, or there is one group and nothing to test with.
    alike = p is None and c.clustered.n_groups > 1
    passed = c.clustered.mean > 0 and (alike or (p is not None and p < limits.alpha))
    shown = "none" if p is None else f"{p:.3g}"
    return Finding(
        "significance over groups", passed, f"p {shown}, {c.clustered.n_groups} groups",
        f"a gain with p below {limits.alpha:g} (cluster-robust)",
        "The gain is beyond chance with whole groups of items as the units." if passed else
        "The gain comes from too few groups of like items to rule out chance.",
    )  # fmt: skip


def _survives(c: Controls, limits: Limits) -> bool | None:
    if c.reshuffled is None:
        return None
    kept = _within(limits.kept_gain * c.test.delta, c.reshuffled.delta)
    return c.reshuffled.delta > 0 and kept


def reshuffled(c: Controls, limits: Limits) -> Finding | None:
    """The gain does not depend on the order of the choices."""
    passed = _survives(c, limits)
    if passed is None or c.reshuffled is None:
        return None
    return Finding(
        "re-shuffled choices", passed,
        f"delta {c.reshuffled.delta:+.4f} instead of {c.test.delta:+.4f}",
        f"above 0 and at least {limits.kept_gain:.0%} of the gain",
        "The gain is still there with the choices in another order." if passed else
        "The gain is gone with the choices in another order, so it lies in the letters.",
    )  # fmt: skip


def one_letter(c: Controls, limits: Limits) -> Finding | None:
    """Answers do not collapse onto one letter."""
    if c.top_letter_after is None:
        return None
    before = c.top_letter_before
    caused = before is None or c.top_letter_after > before
    collapsed = c.top_letter_after >= limits.one_letter and caused
    # Where the labels are one letter, good answers are too: only another order tells.
    passed = not collapsed or _survives(c, limits) is True
    start = "" if before is None else f", {before:.1%} before"
    return Finding(
        "one letter", passed, f"{c.top_letter_after:.1%} of answers on one letter{start}",
        f"below {limits.one_letter:.0%}, or not more than before, or a gain in another order",
        "The steered model does not owe its gain to one letter." if passed else
        "The steered model answers one letter nearly always, whatever the question.",
    )  # fmt: skip


def constant_letter(c: Controls, _: Limits) -> Finding | None:
    """Reading the question pays."""
    # Another order is the fairer test: the published protocol has tasks with one correct letter.
    if c.reshuffled is not None and c.reshuffled_constant is not None:
        steered, constant = c.reshuffled.steered_accuracy, c.reshuffled_constant
        where = " (choices re-shuffled)"
    elif c.constant_accuracy is not None:
        steered, constant, where = c.test.steered_accuracy, c.constant_accuracy, ""
    else:
        return None
    passed = steered > constant
    return Finding(
        "constant letter", passed, f"accuracy {steered:.4f}{where}", f"above {constant:.4f}",
        "Steered answers beat always giving the best letter." if passed else
        "Always giving the same letter would be right as often, without reading the question.",
    )  # fmt: skip


def answer_format(c: Controls, limits: Limits) -> Finding | None:
    """Both sides answer in the same form."""
    if c.outside_before is None or c.outside_after is None:
        return None
    change = c.outside_after - c.outside_before
    passed = _within(abs(change), limits.format_change)
    if passed:
        why = "Steered and unsteered answers are letters about equally often."
    elif change < 0:
        why = "Steering makes the model answer with a letter, which need not be a better answer."
    else:
        why = "Steering makes the model want to say something else than a letter."
    return Finding(
        "answer format", passed,
        f"{c.outside_before:.1%} outside the letters before, {c.outside_after:.1%} after",
        f"a change of at most {limits.format_change:.0%}", why,
    )  # fmt: skip


def always_unknown(c: Controls, limits: Limits) -> Finding | None:
    """Answers do not collapse onto `unknown`."""
    if c.bias_before is None or c.bias_after is None:
        return None
    if c.bias_after.accuracy_disambiguated is None:
        return None  # "unknown" is right in all the others
    before, after = c.bias_before.unknown, c.bias_after.unknown
    passed = after < limits.always_unknown or after <= before
    return Finding(
        "always unknown", passed, f'{after:.1%} "unknown", {before:.1%} before',
        f"below {limits.always_unknown:.0%}, or not more than before",
        'The steered model does not say "unknown" to everything.' if passed else
        'The steered model says "unknown" nearly always, which is right in half the items.',
    )  # fmt: skip


def answerable_items(c: Controls, limits: Limits) -> Finding | None:
    """Answers that could be given are not replaced by `unknown`."""
    if c.bias_before is None or c.bias_after is None:
        return None
    before, after = c.bias_before.accuracy_disambiguated, c.bias_after.accuracy_disambiguated
    if before is None or after is None:
        return None
    passed = _within(before - after, limits.answerable_loss) or (
        c.bias_after.unknown <= c.bias_before.unknown
    )
    return Finding(
        "answerable items", passed, f"accuracy {after:.4f}, {before:.4f} before",
        f'a loss of at most {limits.answerable_loss:g}, or no more "unknown" answers',
        "Questions that the context answers are still answered." if passed else
        'The gain is more "unknown", paid for with questions that the context answers.',
    )  # fmt: skip


def random_directions(c: Controls, _: Limits) -> Finding | None:
    """The direction matters, not only its size."""
    if not c.random_accuracies:
        return None
    best, k = max(c.random_accuracies), len(c.random_accuracies)
    passed = c.test.steered_accuracy > best
    return Finding(
        "random direction", passed, f"accuracy {c.test.steered_accuracy:.4f}",
        f"above {best:.4f}, the best of {k} random directions of the same norm",
        "The vector does more than a push of the same size in a random direction." if passed else
        "A push of the same size in a random direction does as well.",
    )  # fmt: skip


def split(c: Controls, limits: Limits) -> Finding | None:
    """The test items are new."""
    if c.leaked_groups is None or not c.test_groups:
        return None
    share = c.leaked_groups / c.test_groups
    passed = _within(share, limits.leaked_groups)
    return Finding(
        "split", passed, f"{c.leaked_groups} of {c.test_groups} test groups also in training",
        f"at most {limits.leaked_groups:.0%}",
        "The test items are strangers to the training items." if passed else
        "Siblings of the test items were in training, so the gain may be memory.",
    )  # fmt: skip


def bias_score(c: Controls, limits: Limits) -> Finding | None:
    """Bias scores do not grow."""
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
    return Finding(
        "bias score", passed,
        ", ".join(f"{name} {after:+.3f}, {before:+.3f} before" for name, before, after in pairs),
        f"no further from 0 by more than {limits.bias_rise:g}",
        "The remaining errors lean on the stereotype no more than before." if passed else
        "Answers are right more often, but the rest leans more to one side of the stereotype.",
    )  # fmt: skip


def damage(c: Controls, limits: Limits) -> Finding | None:
    """Nothing else changes much."""
    parts, wrong = [], False
    if c.neutral_kl is not None:
        parts.append(f"{c.neutral_kl:.3g} nats a token on neutral text")
        wrong = not _within(c.neutral_kl, limits.neutral_kl)
    if c.other_task is not None:
        parts.append(f"delta {c.other_task.delta:+.4f} on another task")
        by_chance = c.other_task.p_value >= limits.alpha
        wrong = wrong or not (_within(-c.other_task.delta, limits.other_loss) or by_chance)
    if not parts:
        return None
    return Finding(
        "damage", not wrong, ", ".join(parts),
        f"at most {limits.neutral_kl:g} nats; no loss above {limits.other_loss:g} beyond chance",
        "The model is otherwise nearly as it was." if not wrong else
        "Steering changes what the model does where it should change nothing.",
    )  # fmt: skip


def _within(value: float, limit: float) -> bool:
    # 0.80 - 0.78 is above 0.02 in floating point.
    return value <= limit + 1e-9
