"""Result of a training: numbers for machines, and the same numbers as a table."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from pas.evidence.evaluation import Evaluation
from pas.recipe import Recipe
from tasks import resources
from tasks.reports.words import doubts, power


@dataclass(frozen=True)
class Outcome:
    """The result of one training.

    Attributes:
        run_id: MLflow run, and the key of the run tables.
        model_name: Registered model.
        version: The version that holds the vector; None where nothing was registered.
        is_new: Whether this training made that version; False where an earlier one with the same
            content did.
        method: The winner's estimator.
        layer: Where it is written.
        strength: Its strength; 0 where not steering won.
        baseline_accuracy: Test accuracy unsteered.
        steered_accuracy: Test accuracy steered.
        delta: Their difference.
        p_value: Exact McNemar.
        verdict: "real", or the label of the first check that failed.
        prompts_total: Distinct prompts whose activations were needed.
        prompts_extracted: Of these, how many the model was run on.
        prompts_cached: How many were in the lake.
        seconds: By step, and in total.
    """

    run_id: str
    model_name: str
    version: int | None
    is_new: bool
    method: str
    layer: int
    strength: float
    baseline_accuracy: float
    steered_accuracy: float
    delta: float
    p_value: float
    verdict: str
    prompts_total: int
    prompts_extracted: int
    prompts_cached: int
    seconds: dict[str, float]

    @property
    def title(self) -> str:
        """What was made, for people."""
        if self.version is None:
            return f"{self.model_name}, not registered"
        return f"{self.model_name} version {self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


class Stopwatch:
    """Seconds by step, summed over repeated steps."""

    def __init__(self) -> None:
        """Start the total."""
        self._began = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def read(self) -> dict[str, float]:
        """Return the seconds so far, the total included, to a hundredth."""
        total = time.perf_counter() - self._began
        return {name: round(s, 2) for name, s in {**self._seconds, "total": total}.items()}


def findings(
    recipe: Recipe, evaluation: Evaluation, prompt: tuple[str, str]
) -> list[tuple[str, str, str]]:
    """Return the result as rows (what, measured, how to read it), beside the table of checks.

    Args:
        recipe: The training.
        evaluation: Its evidence.
        prompt: What the model reads, and where its answer is read, see `pas.data.chat.described`.
    """
    test, selected, damage = evaluation.test, evaluation.selected, evaluation.damage
    at = f"{selected.method}, layer {selected.layer}, strength {selected.strength:g}"
    perplexity = [math.exp(nll) for nll in (damage.nll_before, damage.nll_after)]
    shared = "one permutation for all items" if recipe.protocol == "paper" else "per item"
    read = "block L-1" if recipe.protocol == "paper" else "block L"
    return [
        ("verdict", evaluation.verdict.label, evaluation.verdict.explanation),
        ("test accuracy, unsteered", f"{test.baseline_accuracy:.3f}", f"{test.n} items"),
        ("test accuracy, steered", f"{test.steered_accuracy:.3f}", at),
        ("gain", f"{test.delta:+.3f}", f"95 % interval {test.ci_low:+.3f} to {test.ci_high:+.3f}"),
        ("flips", f"{test.w2r} / {test.r2w}", "wrong to right / right to wrong"),
        ("p", f"{test.p_value:.2g}", f"exact McNemar, two-sided; {power(test)}"),
        (
            "damage to neutral text",
            f"{damage.kl:.3f}",
            "nats per token; perplexity {:.1f} unsteered, {:.1f} steered".format(*perplexity),
        ),
        *(
            (
                f"asked in words ({one.way})",
                f"{one.asked.steered_accuracy:.3f}",
                f"accuracy without the vector; {one.both.steered_accuracy:.3f} with it",
            )
            for one in evaluation.controls.asking
        ),
        *doubts(evaluation.doubts, resources.resolved(recipe).rule.ties),
        ("protocol", recipe.protocol, f"choice order {shared}; vector read at {read}"),
        ("prompt", *prompt),
    ]
