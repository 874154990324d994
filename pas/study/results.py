"""What a study found: one result for each of its cells.

METHOD.md, "Studies". `pas.study.summary` makes tables of them.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

Setting = Literal["main", "icl", "sft", "sites", "samples", "forgetting"]
SETTINGS: tuple[Setting, ...] = ("main", "icl", "sft", "sites", "samples", "forgetting")
"""In the order in which they are run and shown."""


class CurvePoint(NamedTuple):
    """What a strength does to a task that the vector is not for, and to neutral text.

    Attributes:
        strength: Factor on the vector.
        accuracy: On the other task's items.
        neutral_kl: See `pas.evidence.damage`, in nats a token.
    """

    strength: float
    accuracy: float
    neutral_kl: float


@dataclass(frozen=True)
class StudyResult:
    """One cell of a study, or why there is no result.

    In every setting "baseline" is the model without a vector and "steered" with it; what the
    setting changes (exemplars, weights, the site, the training items, the items that are asked)
    holds for both.

    Attributes:
        model: As named in the study.
        task: As named in the study; the vector's, also where another task is asked.
        category: "bias", "morality", "alignment", "intelligence", "demo" or "own".
        seed: Of the training.
        setting: Which of the paper's studies it belongs to.
        variant: What tells its cells apart: the site, the number of training items, the task
            that is asked; empty where nothing does.
        failed: Why it failed, in one line; empty if it did not.
        verdict: See `pas.evidence.verdict`; empty for "forgetting", which has no gain to judge.
        explanation: The verdict's reason.
        method: The winner's estimator.
        layer: Where it is written.
        strength: Its strength; 0 where not steering won.
        n_test: Test items.
        baseline_accuracy: Unsteered, on the test items.
        steered_accuracy: Steered by the winner.
        w2r: Items that went from wrong to right.
        r2w: Items that went from right to wrong.
        p_value: Exact McNemar.
        random_accuracy: Mean of random directions of the winner's norm; None if not measured.
        neutral_kl: Of the winner, in nats a token; None if not measured.
        method_deltas: Each estimator's own gain on the test items.
        curve: Of "forgetting": other strengths of the same vector.
        seconds: Of the whole cell.
        run_id: MLflow run.
        fingerprint: Of the model that was run.
    """

    model: str
    task: str
    category: str
    seed: int
    setting: Setting = "main"
    variant: str = ""
    failed: str = ""
    verdict: str = ""
    explanation: str = ""
    method: str = ""
    layer: int = 0
    strength: float = 0.0
    n_test: int = 0
    baseline_accuracy: float = 0.0
    steered_accuracy: float = 0.0
    w2r: int = 0
    r2w: int = 0
    p_value: float = 1.0
    random_accuracy: float | None = None
    neutral_kl: float | None = None
    method_deltas: dict[str, float] = field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    seconds: float = 0.0
    run_id: str = ""
    fingerprint: str = ""

    @property
    def delta(self) -> float:
        """Gain in test accuracy."""
        return self.steered_accuracy - self.baseline_accuracy

    @property
    def place(self) -> str:
        """The cell in words, for a log."""
        what = f"{self.setting} {self.variant}".strip()
        return f"{self.model} {self.task} seed {self.seed}" + ("" if what == "main" else f" {what}")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self) | {"curve": [list(point) for point in self.curve]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "StudyResult":
        """Make what `as_dict` took apart."""
        points = tuple(CurvePoint(*point) for point in fields.get("curve", ()))
        return cls(**(fields | {"curve": points}))
