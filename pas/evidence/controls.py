"""What was measured of a result besides its gain."""

from dataclasses import dataclass

from pas.evidence.bias import BiasScores
from pas.evidence.clusters import ClusteredInterval
from pas.evidence.paired import Comparison


@dataclass(frozen=True)
class Controls:
    """A result and its controls; None (or nothing) where the setting has no such control.

    Shares and accuracies are in 0 to 1; "before" is unsteered, "after" steered by the winner.

    Attributes:
        test: Steered against unsteered on the test split.
        strength: Of the winner; 0 where not steering won.
        letters: Whether answers are letters; with choice scoring the model sees no order.
        clustered: The gain with groups of items as the independent units.
        constant_accuracy: Of always picking the letter that is right most often.
        top_letter_before: Share of answers on the letter answered most.
        top_letter_after: The same, steered.
        reshuffled: The comparison on the test items with the choices in another order.
        reshuffled_constant: `constant_accuracy` in that order.
        random_accuracies: Test accuracy of each random direction of the winner's norm.
        leaked_groups: Groups of the test split that the training split shares.
        test_groups: Groups of the test split.
        bias_before: BBQ's scores.
        bias_after: The same, steered.
        outside_before: Share of the next token's probability (or of its argmax) outside the
            letters, mean over items.
        outside_after: The same, steered.
        neutral_kl: Mean KL divergence of the steered from the unsteered next-token distribution
            on neutral text, in nats per token.
        other_task: Steered against unsteered on a task that the vector is not for.
    """

    test: Comparison
    strength: float
    letters: bool = True
    clustered: ClusteredInterval | None = None
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
