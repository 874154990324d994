"""The controls of a result: measurements that could explain its gain in another way.

docs/method.md, "Controls".
"""

from dataclasses import dataclass
from typing import NamedTuple

from pas.evidence.bias import BiasScores
from pas.evidence.clusters import ClusteredTest
from pas.evidence.paired import Comparison


class Asking(NamedTuple):
    """The same behaviour asked for in words, on the same items, and what steering is worth then.

    Attributes:
        how: Such as "instruction: Be brief." or "3 worked examples".
        asked: Asking, without the vector, against the unsteered model.
        both: Asking and steering against asking alone: what the vector adds to asking.
        steered: Steering without asking against asking alone: what the vector is worth instead.
    """

    how: str
    asked: Comparison
    both: Comparison
    steered: Comparison

    @property
    def way(self) -> str:
        """`how` without the text of an instruction."""
        return self.how.partition(":")[0]


@dataclass(frozen=True)
class Controls:
    """A result and its controls. A control that was not measured is None or empty.

    Shares and accuracies are from 0 to 1. "before" is the unsteered model and "after" the model
    steered by the selected configuration.

    Attributes:
        test: Comparison of steered and unsteered answers to the test items.
        strength: Strength of the selected configuration; 0 if the unsteered model was selected.
        letters: Whether answers are letters. Under choice scoring the model sees no order.
        clustered: The gain with groups of items as the independent units.
        constant_accuracy: Accuracy of always giving the letter that is correct most often.
        top_letter_before: Share of answers on the most frequent letter.
        top_letter_after: The same, steered.
        reshuffled: The comparison on the test items with the choices in another order.
        reshuffled_constant: `constant_accuracy` in that order.
        random_accuracies: Test accuracy of each random direction with the selected
            configuration's norm.
        leaked_groups: Number of test groups that also occur in training.
        test_groups: Number of test groups.
        bias_before: BBQ's bias scores.
        bias_after: The same, steered.
        outside_before: Share of the next token's probability outside the letters, mean over
            items.
        outside_after: The same, steered.
        neutral_kl: Mean KL divergence of the steered from the unsteered next-token distribution
            on neutral text, in nats per token.
        other_task: Comparison on a task that the vector is not for.
        asking: The same behaviour asked for in words, in one or more ways.
    """

    test: Comparison
    strength: float
    letters: bool = True
    clustered: ClusteredTest | None = None
    constant_accuracy: float | None = None
    top_letter_before: float | None = None
    top_letter_after: float | None = None
    reshuffled: Comparison | None = None
    reshuffled_constant: float | None = None
    random_accuracies: tuple[float, ...] = ()
    leaked_groups: int | None = None
    test_groups: int | None = None
    bias_before: BiasScores | None = None
    bias_after: BiasScores | None = None
    outside_before: float | None = None
    outside_after: float | None = None
    neutral_kl: float | None = None
    other_task: Comparison | None = None
    asking: tuple[Asking, ...] = ()
