"""The results of a study, one for each cell.

docs/method.md, "Studies". `pas.study.summary` computes tables from them.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

Setting = Literal["main", "icl", "sft", "sites", "samples", "forgetting"]
SETTINGS: tuple[Setting, ...] = ("main", "icl", "sft", "sites", "samples", "forgetting")
"""The settings, in the order in which they are run and shown."""
SCHEMA = 1
"""The schema number of `results.json`; it rises when what a field means changes."""


class CurvePoint(NamedTuple):
    """The effect of one strength on a task that the vector is not for, and on neutral text.

    Attributes:
        strength: Factor on the vector.
        accuracy: Accuracy on the other task's items.
        neutral_kl: Damage to neutral text in nats per token, see `pas.evidence.damage`.
    """

    strength: float
    accuracy: float
    neutral_kl: float


@dataclass(frozen=True)
class StudyResult:
    """The result of one cell of a study, or the reason why there is none.

    In every setting, "baseline" is the model without a vector and "steered" is the model with the
    vector. What the setting changes (exemplars, weights, site, training items, task) applies to
    both. The winner is the selected configuration.

    Attributes:
        model: Name of the model in the study.
        task: Name in the study of the task that the vector is for.
        category: "bias", "morality", "alignment", "intelligence", "demo" or "own".
        seed: Seed of the training.
        setting: The study of the paper that the cell belongs to.
        variant: The site, the number of training items or the other task, for settings with
            several cells per training; otherwise empty.
        failed: The reason of a failure, in one line; otherwise empty.
        verdict: Label of the verdict, see `pas.evidence.verdict`; empty for "forgetting".
        explanation: The verdict's explanation.
        method: The winner's estimator.
        layer: The winner's layer.
        strength: The winner's strength; 0 if the unsteered model was selected.
        n_test: Number of test items.
        baseline_accuracy: Test accuracy of the unsteered model.
        steered_accuracy: Test accuracy under the winner.
        w2r: Number of items that changed from wrong to right.
        r2w: Number of items that changed from right to wrong.
        p_value: P-value of the exact McNemar test.
        random_accuracy: Mean accuracy of random directions of the winner's norm; None if not
            measured.
        neutral_kl: The winner's damage to neutral text, in nats per token; None if not measured.
        method_deltas: Gain on the test items of the configuration selected for each estimator.
        curve: For "forgetting": other strengths of the same vector.
        seconds: Time of the whole cell.
        run_id: Id of the MLflow run.
        fingerprint: Fingerprint of the model that was run.
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
        """A name of the cell for logs."""
        what = f"{self.setting} {self.variant}".strip()
        return f"{self.model} {self.task} seed {self.seed}" + ("" if what == "main" else f" {what}")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self) | {"curve": [list(point) for point in self.curve]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "StudyResult":
        """Return the result from the fields of `as_dict`."""
        points = tuple(CurvePoint(*point) for point in fields.get("curve", ()))
        return cls(**(fields | {"curve": points}))
