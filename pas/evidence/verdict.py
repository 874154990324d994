"""Is the gain real? One verdict from a result's controls, by the table of checks.

The first blocking check that fails names the verdict. All findings are kept, so that a second
fault is seen too. A check without its control is left out, except that what a real gain needs must
have been measured (the check "controls").
"""

from dataclasses import dataclass
from typing import Any

from pas.evidence.checks import CHECKS, REAL, VERSION, Finding, Limits, apply
from pas.evidence.controls import Controls


@dataclass(frozen=True)
class Verdict:
    """What the checks say of a result.

    Attributes:
        label: "real", or what is wrong with the gain first of all.
        findings: Of every check whose control was measured, in order of precedence.
        version: Of the table of checks.
    """

    label: str
    findings: tuple[Finding, ...]
    version: int = VERSION

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings that block a promotion."""
        return tuple(f for f in self.findings if f.blocks and not f.passed)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that failed and do not block."""
        return tuple(f for f in self.findings if not f.blocks and not f.passed)

    @property
    def explanation(self) -> str:
        """The sentence that gives the reason for the label."""
        if self.failures:
            return self.failures[0].explanation
        return "The gain is significant and no control explains it."

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the explanation, JSON-able."""
        return {
            "version": self.version,
            "label": self.label,
            "explanation": self.explanation,
            "findings": [finding._asdict() for finding in self.findings],
        }


def verdict(controls: Controls, limits: Limits | None = None) -> Verdict:
    """Judge a result by the table of checks."""
    limits = limits or Limits()
    findings = [apply(check, controls, limits) for check in CHECKS]
    measured = tuple(finding for finding in findings if finding is not None)
    failed = next((f.label for f in measured if f.blocks and not f.passed), REAL)
    return Verdict(failed, measured)
