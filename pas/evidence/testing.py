"""The test of a selected configuration with a model in memory, and the vector with its evidence.

docs/method.md, "Evidence".
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from pas.data.examples import Example
from pas.data.splits import Split
from pas.engine.prefix import Steering
from pas.evidence.damage import damage, neutral_texts
from pas.evidence.evaluation import Evaluation, answer_test, evaluate
from pas.methods.answers import Answers
from pas.methods.grid import Configuration
from pas.methods.selection import Selection
from pas.methods.sweep import Sweep, answer_examples
from pas.models.loading import LoadedModel
from pas.steering.vector import SteeringVector


def test(
    model: LoadedModel, split: Split, swept: Sweep, selection: Selection, seed: int = 0
) -> Evaluation:
    """Test what validation selected on the test items, with its controls, and judge the gain.

    Controls: ten random directions of the same norm; under letter scoring the same vector with the
    choices in another order and the best constant letter; groups of items as units; groups shared
    with the training items; damage to neutral text.

    Args:
        model: The model.
        split: All three parts; the test items are used here for the first time.
        swept: From `pas.sweep`, on the validation items.
        selection: From `pas.select`.
        seed: Of the random directions, the other order and the bootstrap.

    Raises:
        UserError: If a prompt exceeds the context window.
    """
    rule = swept.rule

    def ask(
        items: Sequence[Example], deltas: list[tuple[Configuration, np.ndarray[Any, Any]]]
    ) -> Answers:
        return answer_examples(model, items, deltas, rule, swept.site, normalise=True)

    answers = answer_test(
        ask, split.test, swept.directions, selection, letters=rule.kind == "letter", seed=seed
    )
    at = selection.selected.configuration
    steering = Steering(at.layer, torch.from_numpy(swept.directions.delta(at)))
    [harm] = damage(model, neutral_texts(), [steering], swept.site)
    return evaluate(split, selection, answers, harm, validation=swept.answers, seed=seed)


def vector_of(
    model: LoadedModel, swept: Sweep, evaluation: Evaluation, task: str, **provenance: Any
) -> SteeringVector:
    """Return the tested configuration as a vector that carries its evaluation.

    Args:
        model: The model.
        swept: Where its direction is from.
        evaluation: From `pas.test`.
        task: Name of what the vector is for.
        **provenance: More facts to keep with it, JSON-able, such as the seed.
    """
    at = evaluation.selected
    return SteeringVector(
        direction=swept.directions.direction[at.method, at.layer],
        layer=at.layer,
        site=swept.site,
        strength=at.strength,
        method=at.method,
        model=model.spec,
        fingerprint=model.fingerprint,
        task=task,
        provenance={"rule": asdict(swept.rule), "evaluation": evaluation.as_dict()} | provenance,
    )
