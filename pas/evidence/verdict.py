"""The verdict on a result, from its controls and the table of checks.

docs/method.md, "Verdict". The label is that of the first blocking check that fails. All findings
are kept, so that a second fault is visible too. A check whose control was not measured is left out,
but the check "controls" fails if a control that a real gain needs is missing.
"""

from dataclasses import dataclass
from typing import Any

from pas.evidence.checks import CHECKS, REAL, VERSION, Finding
from pas.evidence.controls import Controls

NO_FAULT = "The gain is significant and no control explains it."
"""The explanation of the verdict "real"."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a result.

    Attributes:
        label: "real", or the label of the first blocking check that failed.
        findings: One finding per check whose control was measured, in the order of the table.
        version: Version of the table of checks.
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
        """Findings that failed but do not block a promotion."""
        return tuple(f for f in self.findings if not f.blocks and not f.passed)

    @property
    def explanation(self) -> str:
        """The sentence that gives the reason for the label."""
        return self.failures[0].explanation if self.failures else NO_FAULT

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the explanation, JSON-able."""
        return {
            "version": self.version,
            "label": self.label,
            "explanation": self.explanation,
            "findings": [finding._asdict() for finding in self.findings],
        }


def verdict(controls: Controls) -> Verdict:
    """Return the verdict on a result, given with its controls, by the table of checks."""
    findings = [check.apply(controls) for check in CHECKS]
    measured = tuple(finding for finding in findings if finding is not None)
    failed = next((f.label for f in measured if f.blocks and not f.passed), REAL)
    return Verdict(failed, measured)
