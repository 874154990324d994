"""The test of a selected configuration with a model in memory, and the vector with its evidence.

docs/method.md, "Evidence".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pas.data.examples import Example
from pas.data.splits import Split
from pas.evidence.asking import Told, ways_to_ask
from pas.evidence.evaluation import Evaluation, answer_asked, answer_test, evaluate
from pas.methods.answers import Answers
from pas.methods.grid import Configuration
from pas.methods.selection import Selection
from pas.methods.sweep import Sweep, answer_examples, damage_meter
from pas.models.loading import LoadedModel
from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector


class ModelReference(NamedTuple):
    """What identifies a model: its specification, its fingerprint, and its type."""

    spec: ModelSpec
    fingerprint: str
    architecture: str


def test(
    model: LoadedModel,
    split: Split,
    swept: Sweep,
    selection: Selection,
    seed: int = 0,
    ways: Sequence[Told] | None = None,
) -> Evaluation:
    """Test the selected configuration on the test items, with its controls and a verdict.

    The controls are ten random directions of the same norm, a test over groups of items, groups
    shared with the training items, damage to neutral text, and asking for the behaviour in words.
    Under letter scoring there are also the test items with the choices in another order, and the
    best constant letter.

    Args:
        model: The model.
        split: From `pas.split`. Its test items must not have been used before.
        swept: From `pas.sweep`, on the validation items.
        selection: From `pas.select`.
        seed: Seed of the random directions, the other order and the bootstrap.
        ways: The test items with the behaviour asked for in words, from
            `pas.evidence.asking.ways_to_ask`; by default with three worked examples.

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
    if ways is None:
        ways = ways_to_ask(model.info, split, rule)
    answers = answers._replace(asked=answer_asked(ask, ways, swept.directions, selection))
    [harm] = swept.damage_of([selection.selected.configuration], damage_meter(model, swept))
    return evaluate(split, selection, answers, harm, validation=swept.answers, seed=seed)


def vector_of(
    model: LoadedModel | ModelReference,
    swept: Sweep,
    evaluation: Evaluation,
    task: str,
    **provenance: Any,
) -> SteeringVector:
    """Return the tested configuration as a vector that carries its evaluation.

    Args:
        model: The model, or what identifies it.
        swept: The sweep that the configuration was selected from.
        evaluation: From `pas.test`.
        task: Name of the task that the vector is for.
        **provenance: More JSON-able facts to store with the vector, such as the seed.
    """
    selected = evaluation.selected
    return SteeringVector(
        direction=swept.directions.direction[selected.method, selected.layer],
        layer=selected.layer,
        site=swept.site,
        strength=selected.strength,
        method=selected.method,
        model=model.spec.located,
        fingerprint=model.fingerprint,
        task=task,
        provenance={"rule": swept.rule.as_dict(), "evaluation": evaluation.as_dict()} | provenance,
        prompt=swept.rule.prompt,
        architecture=model.architecture,
    )
