"""Is the gain real? One verdict from a result's controls, with a sentence for each finding.

Checks run in the order of `_CHECKS`, and the first that fails names the verdict: first whether
there is a gain, then what it consists of other than better answers, then whether the split or a
random direction could have given it, last what it costs. All findings are kept, so that a second
fault is seen too. A check without its control is left out; without the controls that rule out a
chance result ("required" below) nothing is called real but "unproven".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pas.evidence import checks as findings
from pas.evidence.checks import Finding, Limits
from pas.evidence.controls import Controls

Label = Literal[
    "real", "unproven", "no steering chosen", "harmful", "not significant", "letter artefact",
    "no better than one letter", "format artefact", "always unknown", "evasive",
    "not better than a random direction", "leaky split", "more biased", "damaging",
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What the controls say of a result.

    Attributes:
        label: "real", or what is wrong with it first of all.
        findings: Of every check that could be made, in order of precedence.
        missing: Required controls that were not measured.
    """

    label: Label
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]

    @property
    def explanation(self) -> str:
        """The sentence that gives the reason for the label."""
        failed = next((f.explanation for f in self.findings if not f.passed), None)
        if failed:
            return failed
        if self.missing:
            return f"The gain is significant, but not measured: {', '.join(self.missing)}."
        return "The gain is significant and none of its controls explains it away."

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return {
            "label": self.label,
            "explanation": self.explanation,
            "findings": [finding._asdict() for finding in self.findings],
            "missing": list(self.missing),
        }


def verdict(controls: Controls, limits: Limits | None = None) -> Verdict:
    """Judge a result.

    Required for "real": enough random directions, and with letters the re-shuffled comparison and
    the best constant letter.
    """
    limits = limits or Limits()
    found = [(label, check(controls, limits)) for label, check in _CHECKS]
    missing = _missing(controls, limits)
    failed = next((label for label, finding in found if finding and not finding.passed), None)
    return Verdict(
        label=failed or ("unproven" if missing else "real"),
        findings=tuple(finding for _, finding in found if finding),
        missing=missing,
    )


def _missing(c: Controls, limits: Limits) -> tuple[str, ...]:
    absent = {
        f"{limits.random_directions} random directions":
            len(c.random_accuracies) < limits.random_directions,
        "choices re-shuffled": c.letters and c.reshuffled is None,
        "the best constant letter":
            c.letters and c.constant_accuracy is None and c.reshuffled_constant is None,
    }  # fmt: skip
    return tuple(name for name, is_absent in absent.items() if is_absent)


_CHECKS: tuple[tuple[Label, Callable[[Controls, Limits], Finding | None]], ...] = (
    ("no steering chosen", findings.chosen),
    ("harmful", findings.harm),
    ("not significant", findings.significance),
    ("not significant", findings.significance_over_groups),
    ("letter artefact", findings.reshuffled),
    ("letter artefact", findings.one_letter),
    ("no better than one letter", findings.constant_letter),
    ("format artefact", findings.answer_format),
    ("always unknown", findings.always_unknown),
    ("evasive", findings.answerable_items),
    ("not better than a random direction", findings.random_directions),
    ("leaky split", findings.split),
    ("more biased", findings.bias_score),
    ("damaging", findings.damage),
)
