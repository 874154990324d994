"""Answers at several strengths of one vector."""

from collections.abc import Sequence

import numpy as np

from pas.data.examples import Example
from pas.engine.scoring import ScoringRule
from pas.methods.answers import Answers
from pas.methods.grid import Configuration
from pas.methods.sweep import answer_examples
from pas.models.loading import LoadedModel
from pas.steering.vector import SteeringVector


def configuration_of(vector: SteeringVector, strength: float | None = None) -> Configuration:
    """Return the configuration that a vector is at a strength, by default its own."""
    return Configuration(
        vector.method, vector.layer, vector.strength if strength is None else strength
    )


def answers_at(
    model: LoadedModel,
    vector: SteeringVector,
    items: Sequence[Example],
    rule: ScoringRule | None,
    strengths: Sequence[float],
) -> Answers:
    """Answer items unsteered and at each strength of a vector.

    Args:
        model: The model.
        vector: The vector.
        items: The items.
        rule: How they are scored; None for the rule of the vector's training.
        strengths: Factors on the direction; 0 is the unsteered model, which is always there.

    Raises:
        UserError: If a prompt exceeds the context window, or the model lacks the layer or site.
    """
    rule = rule or ScoringRule(**vector.provenance["rule"], prompt=vector.prompt)
    deltas = [
        (configuration_of(vector, s), np.float32(s) * vector.direction) for s in strengths if s
    ]
    return answer_examples(model, items, deltas, rule, vector.site)
