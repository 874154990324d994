"""The controls of a result: measurements that could explain its gain in another way.

docs/method.md, "Controls".
"""

from dataclasses import dataclass

from pas.evidence.bias import BiasScores
from pas.evidence.clusters import ClusteredTest
from pas.evidence.paired import Comparison


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
