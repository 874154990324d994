"""Result of a training: numbers for machines, and the same numbers as a table."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from string import ascii_uppercase
from typing import Any

from pas.evidence.evaluation import Evaluation
from pas.evidence.paired import Comparison
from pas.evidence.power import smallest_gain
from pas.recipe import Recipe
from tasks import resources
from tasks.reports.words import doubts


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
    """Return the evidence as rows (what, measured, how to read it), for people.

    Args:
        recipe: The training.
        evaluation: Its evidence.
        prompt: What the model reads, and where its answer is read, see `pas.data.chat.described`.
    """
    test, controls, selected = evaluation.test, evaluation.controls, evaluation.selected
    rows = [
        ("verdict", evaluation.verdict.label, evaluation.verdict.explanation),
        ("test accuracy, unsteered", f"{test.baseline_accuracy:.3f}", f"{test.n} items"),
        (
            "test accuracy, steered",
            f"{test.steered_accuracy:.3f}",
            f"{selected.method}, layer {selected.layer}, strength {selected.strength:g}",
        ),
        ("gain", f"{test.delta:+.3f}", f"95 % interval {test.ci_low:+.3f} to {test.ci_high:+.3f}"),
        ("flips", f"{test.w2r} / {test.r2w}", "wrong to right / right to wrong"),
        ("McNemar p", f"{test.p_value:.2g}", _power(test)),
    ]
    if controls.random_accuracies:
        draws = controls.random_accuracies
        rows.append(
            (
                "random direction",
                f"{sum(draws) / len(draws):.3f}",
                f"mean of {len(draws)} of the same norm; best {max(draws):.3f}",
            )
        )
    if evaluation.letters is not None:
        letters = evaluation.letters
        rows += [
            (
                f"always answering {ascii_uppercase[letters.best]}",
                f"{controls.constant_accuracy:.3f}",
                "steering should beat this",
            ),
            ("letters, unsteered", _counts(letters.unsteered), ""),
            ("letters, steered", _counts(letters.steered), ""),
        ]
    if controls.reshuffled is not None:
        rows.append(
            (
                "gain, choices re-shuffled",
                f"{controls.reshuffled.delta:+.3f}",
                "should stay if the gain is not about letters",
            )
        )
    if controls.leaked_groups:
        rows.append(
            (
                "groups on both sides",
                str(controls.leaked_groups),
                "train and test share templates: the gain may be memory",
            )
        )
    damage = evaluation.damage
    rows.append(
        (
            "damage to neutral text",
            f"{damage.kl:.3f}",
            f"nats per token; perplexity {math.exp(damage.nll_before):.1f} unsteered, "
            f"{math.exp(damage.nll_after):.1f} steered",
        )
    )
    if controls.outside_before is not None and controls.outside_after is not None:
        rows.append(
            (
                "answers outside the letters",
                f"{controls.outside_before:.1%} / {controls.outside_after:.1%}",
                "share of probability, unsteered / steered",
            )
        )
    rows += doubts(evaluation.doubts, resources.resolved(recipe).rule.ties)
    shared = "one permutation for all items" if recipe.protocol == "paper" else "per item"
    read = "block L-1" if recipe.protocol == "paper" else "block L"
    rows.append(("protocol", recipe.protocol, f"choice order {shared}; vector read at {read}"))
    rows.append(("prompt", *prompt))
    return rows


def _power(test: Comparison) -> str:
    """Describe the power of the test; without any flip, a tenth is assumed to flip."""
    rate = (test.w2r + test.r2w) / test.n or 0.1
    least = smallest_gain(test.n, rate)
    if least is None:
        return (
            f"exact, two-sided; {test.n} items are too few to show any gain at this rate of flips"
        )
    return f"exact, two-sided; {test.n} items show a gain of {least:.3f} four times in five"


def _counts(counts: Sequence[int]) -> str:
    return " ".join(f"{letter}{n}" for letter, n in zip(ascii_uppercase, counts, strict=False))
