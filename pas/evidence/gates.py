"""The gates between a candidate and the champion's alias: each with its numbers."""

from dataclasses import dataclass
from typing import NamedTuple

from pas.evidence.paired import Comparison
from pas.evidence.verdict import Verdict

# Findings of a verdict that no gate of its own covers, and that explain a gain away.
_FAULTS = (
    "one letter",
    "answer format",
    "always unknown",
    "answerable items",
    "split",
    "bias score",
)


@dataclass(frozen=True)
class Thresholds:
    """What a candidate must reach.

    Attributes:
        min_delta: Smallest gain in test accuracy.
        alpha: Largest McNemar p-value.
        max_kl: Largest divergence on neutral text, nats a token; None for any.
    """

    min_delta: float = 0.02
    alpha: float = 0.05
    max_kl: float | None = None


class Evidence(NamedTuple):
    """What the gates read of a candidate.

    Attributes:
        test: Steered against unsteered on the test split.
        strength: Of the winner; 0 where not steering won.
        random_accuracies: Test accuracy of each random direction of the same norm.
        constant_accuracy: Of always picking the best letter; None under choice scoring, where
            the order of the choices cannot be seen by the model.
        reshuffled_delta: Gain on the test items with choices in another order, or None likewise.
        faults: What else explains the gain away, see `faults_of`.
        neutral_kl: Divergence on neutral text, nats a token; None if not measured.
    """

    test: Comparison
    strength: float
    random_accuracies: tuple[float, ...]
    constant_accuracy: float | None
    reshuffled_delta: float | None
    faults: tuple[str, ...] = ()
    neutral_kl: float | None = None


class Gate(NamedTuple):
    """One gate: what was needed, what was measured, whether it passed."""

    name: str
    passed: bool
    measured: str
    needed: str


def faults_of(verdict: Verdict) -> tuple[str, ...]:
    """Return the failed findings that no other gate covers, each with what was measured."""
    return tuple(
        f"{f.check} ({f.measured})" for f in verdict.findings if f.check in _FAULTS and not f.passed
    )


def judge(
    evidence: Evidence, champion_accuracy: float | None, thresholds: Thresholds
) -> list[Gate]:
    """Apply every gate.

    Args:
        evidence: Of the candidate.
        champion_accuracy: The current champion's accuracy on the candidate's own test items;
            None where there is no champion.
        thresholds: What to reach.
    """
    test, steered = evidence.test, evidence.test.steered_accuracy
    gates = [
        Gate("steering won", evidence.strength != 0, f"strength {evidence.strength:g}",
             "a winner other than strength 0"),
        Gate("gain", test.delta >= thresholds.min_delta, f"delta {test.delta:+.4f}",
             f"at least {thresholds.min_delta:+.4f}"),
        Gate("significance", test.p_value < thresholds.alpha, f"p {test.p_value:.4g}",
             f"below {thresholds.alpha:g} (exact McNemar)"),
    ]  # fmt: skip
    if evidence.random_accuracies:
        best = max(evidence.random_accuracies)
        gates.append(
            Gate("random direction", steered > best, f"accuracy {steered:.4f}",
                 f"above {best:.4f}, the best of {len(evidence.random_accuracies)} random "
                 "directions of the same norm")
        )  # fmt: skip
    if evidence.constant_accuracy is not None:
        gates.append(
            Gate("constant letter", steered > evidence.constant_accuracy,
                 f"accuracy {steered:.4f}",
                 f"above {evidence.constant_accuracy:.4f}, always the same letter")
        )  # fmt: skip
    if evidence.reshuffled_delta is not None:
        gates.append(
            Gate("re-shuffled choices", evidence.reshuffled_delta > 0,
                 f"delta {evidence.reshuffled_delta:+.4f}", "above 0 with choices re-shuffled")
        )  # fmt: skip
    gates.append(
        Gate("verdict", not evidence.faults, "; ".join(evidence.faults) or "no fault",
             "nothing else that explains the gain away")
    )  # fmt: skip
    if thresholds.max_kl is not None:
        known = evidence.neutral_kl
        gates.append(
            Gate("damage", known is not None and known <= thresholds.max_kl,
                 "not measured" if known is None else f"{known:.4f} nats a token",
                 f"at most {thresholds.max_kl:g} on neutral text")
        )  # fmt: skip
    measured = f"accuracy {steered:.4f}"
    if champion_accuracy is None:
        gates.append(Gate("champion", True, measured, "nothing: there is no champion yet"))
    else:
        gates.append(
            Gate("champion", steered > champion_accuracy, measured,
                 f"above {champion_accuracy:.4f}, the champion on the same test items")
        )  # fmt: skip
    return gates
