"""What a training hands back: numbers for machines, and the same numbers as a table."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from pas.evidence.paired import Comparison
from pas.evidence.power import smallest_gain
from pas.recipe import Recipe
from tasks.evaluate import Report


@dataclass(frozen=True)
class Outcome:
    """The result of one training.

    Attributes:
        run_id: MLflow run, and the key of the run tables.
        model_name: Registration model.
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
        verdict: "real", or what is wrong with the gain first of all.
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


def findings(recipe: Recipe, found: Report) -> list[tuple[str, str, str]]:
    """Return the evidence as rows (what, measured, how to read it), for people."""
    test, evidence = found.evidence.test, found.evidence
    rows = [
        ("verdict", found.verdict.label, found.verdict.explanation),
        ("test accuracy, unsteered", f"{test.baseline_accuracy:.3f}", f"{test.n} items"),
        ("test accuracy, steered", f"{test.steered_accuracy:.3f}",
         f"{found.selected.method}, layer {found.selected.layer}, "
         f"strength {found.selected.strength:g}"),
        ("gain", f"{test.delta:+.3f}", f"95 % interval {test.ci_low:+.3f} to {test.ci_high:+.3f}"),
        ("flips", f"{test.w2r} / {test.r2w}", "wrong to right / right to wrong"),
        ("McNemar p", f"{test.p_value:.2g}", _power(test)),
    ]  # fmt: skip
    if evidence.random_accuracies:
        draws = evidence.random_accuracies
        mean = sum(draws) / len(draws)
        rows.append(
            ("random direction", f"{mean:.3f}",
             f"mean of {len(draws)} of the same norm; best {max(draws):.3f}")
        )  # fmt: skip
    if evidence.constant_accuracy is not None and found.constant_position is not None:
        letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[found.constant_position]
        rows.append(
            ("always answering " + letter, f"{evidence.constant_accuracy:.3f}",
             "steering should beat this")
        )  # fmt: skip
        rows.append(("letters, unsteered", _counts(found.positions_before), ""))
        rows.append(("letters, steered", _counts(found.positions_after), ""))
    if found.reshuffled is not None:
        rows.append(
            ("gain, choices re-shuffled", f"{found.reshuffled.delta:+.3f}",
             "should stay if the gain is not about letters")
        )  # fmt: skip
    if found.leaked_groups:
        rows.append(
            ("groups on both sides", str(found.leaked_groups),
             "train and test share templates: the gain may be memory")
        )  # fmt: skip
    rows.append(
        ("damage to neutral text", f"{found.damage.kl:.3f}",
         f"nats a token; perplexity {math.exp(found.damage.nll_before):.1f} unsteered, "
         f"{math.exp(found.damage.nll_after):.1f} steered")
    )  # fmt: skip
    if found.outside is not None:
        rows.append(
            ("answers outside the letters", "{:.1%} / {:.1%}".format(*found.outside),
             "share of probability, unsteered / steered")
        )  # fmt: skip
    shared = "one permutation for all items" if recipe.protocol == "paper" else "per item"
    read = "block L-1" if recipe.protocol == "paper" else "block L"
    rows.append(("protocol", recipe.protocol, f"choice order {shared}; vector read at {read}"))
    return rows


def _power(test: Comparison) -> str:
    """Say what so many items can show at all; without a flip a tenth is taken to flip."""
    rate = (test.w2r + test.r2w) / test.n or 0.1
    least = smallest_gain(test.n, rate)
    if least is None:
        return (
            f"exact, two-sided; {test.n} items are too few to show any gain at this rate of flips"
        )
    return f"exact, two-sided; {test.n} items show a gain of {least:.3f} four times in five"


def _counts(counts: list[int]) -> str:
    return " ".join(f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[i]}{n}" for i, n in enumerate(counts))
