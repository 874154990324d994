"""Judge: put a test evaluation's controls together, and say whether the gain is real."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pas.data.examples import Example
from pas.evidence.bias import UNKNOWN, BiasScores, bias_scores
from pas.evidence.clusters import clustered_interval
from pas.evidence.controls import Controls
from pas.evidence.letters import best_constant
from pas.evidence.paired import Comparison
from pas.evidence.verdict import Verdict, verdict


def judge(
    test: tuple[Example, ...], before: pd.DataFrame, after: pd.DataFrame, comparison: Comparison,
    strength: float, letters: bool, reshuffled: Comparison | None,
    reshuffled_labels: Sequence[int], random_accuracies: Sequence[float], leaked_groups: int,
    neutral_kl: float | None = None, outside: tuple[float, float] | None = None,
) -> Verdict:  # fmt: skip
    """Judge the winner on the test items.

    Args:
        test: The items.
        before: Their unsteered answers, in the same order: `choice`, `label`, `correct`.
        after: Their steered answers.
        comparison: Of the two.
        strength: Of the winner.
        letters: Whether answers are letters.
        reshuffled: The comparison with the choices in another order, if there is one.
        reshuffled_labels: The right positions in that order.
        random_accuracies: Of random directions of the winner's norm.
        leaked_groups: Groups of the test items that training shares.
        neutral_kl: Of the winner on neutral text, in nats a token.
        outside: Share of the answers' probability outside the letters, before and after.
    """
    gained = after["correct"].to_numpy().astype(float) - before["correct"].to_numpy()
    groups = [e.group for e in test]
    constant = best_constant(before["label"].tolist())[1]
    other = best_constant(list(reshuffled_labels))[1] if letters and reshuffled else None
    return verdict(
        Controls(
            test=comparison,
            strength=strength,
            letters=letters,
            # With a group for every item it would be the same test once more.
            clustered=clustered_interval(gained, groups) if len(set(groups)) < len(test) else None,
            constant_accuracy=constant if letters else None,
            top_letter_before=_top_share(before) if letters else None,
            top_letter_after=_top_share(after) if letters else None,
            reshuffled=reshuffled,
            reshuffled_constant=other,
            random_accuracies=tuple(random_accuracies),
            leaked_groups=leaked_groups,
            test_groups=len(set(groups)),
            bias_before=_bias(test, before),
            bias_after=_bias(test, after),
            neutral_kl=neutral_kl,
            outside_before=outside[0] if outside else None,
            outside_after=outside[1] if outside else None,
        )
    )


def _top_share(answers: pd.DataFrame) -> float:
    return float(answers["choice"].value_counts(normalize=True).iloc[0])


def _bias(test: tuple[Example, ...], answers: pd.DataFrame) -> BiasScores | None:
    """BBQ's scores of the items whose choices have roles; None for other data."""
    if not any(UNKNOWN in e.roles for e in test):
        return None
    picked = [e.roles[c] if e.roles else None for e, c in zip(test, answers["choice"], strict=True)]
    correct = np.asarray(answers["correct"], bool).tolist()
    return bias_scores(picked, [e.stratum for e in test], correct)
