"""Answers of a model to some items, unsteered and under configurations of the grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pas.data.examples import Example
from pas.engine.memory import Budget
from pas.engine.prefix import Steering
from pas.engine.scoring import Query
from pas.engine.sweep import score_rows
from pas.methods.grid import Configuration
from pas.models.loading import LoadedModel
from pas.models.sites import Site


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to the same items under several configurations.

    The unsteered model is `None`. A configuration of strength 0 adds nothing, so its answers are
    those of the unsteered model.

    Attributes:
        item_ids: Of the items, in the order in which they were asked.
        labels: [n_items] int64, index of the correct choice.
        scores: For each configuration and item [n_choices] float64, in log units.
    """

    item_ids: tuple[str, ...]
    labels: np.ndarray
    scores: Mapping[Configuration | None, Sequence[np.ndarray]]

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations that steer, in the order in which they were asked."""
        return tuple(at for at in self.scores if at is not None)

    def scores_of(self, configuration: Configuration | None = None) -> Sequence[np.ndarray]:
        """Return each item's scores [n_choices] under a configuration.

        Raises:
            LookupError: If the items were not answered under it.
        """
        key = configuration if configuration is not None and configuration.strength else None
        if key not in self.scores:
            raise LookupError(f"there are no answers under {key or 'the unsteered model'}")
        return self.scores[key]

    def choices(self, configuration: Configuration | None = None) -> np.ndarray:
        """Return the answered choice of each item: [n_items] int64, the first of equal scores."""
        return np.array([int(np.argmax(s)) for s in self.scores_of(configuration)], np.int64)

    def correct(self, configuration: Configuration | None = None) -> np.ndarray:
        """Return which items are answered correctly: [n_items] bool."""
        return np.asarray(self.choices(configuration) == self.labels)

    def accuracy(self, configuration: Configuration | None = None) -> float:
        """Return the share of items answered correctly."""
        return float(self.correct(configuration).mean())


def answer(
    model: LoadedModel,
    examples: Sequence[Example],
    queries: Sequence[Query],
    deltas: Sequence[tuple[Configuration, np.ndarray]],
    site: Site,
    *,
    length_norm: bool = True,
    normalise: bool = False,
    budget: Budget | None = None,
) -> Answers:
    """Answer items unsteered and under each (configuration, delta).

    Args:
        model: The model.
        examples: The items.
        queries: The same items, prepared for scoring by `pas.engine.scoring.prepare`.
        deltas: [d_model] float32 each, strength multiplied in; strength 0 needs none.
        site: Where the deltas are added.
        length_norm: See `pas.engine.sweep.score_rows`, as for the next two.
        normalise: Letters' scores are log-probabilities over the vocabulary.
        budget: Limits of a forward pass.
    """
    steerings = [Steering(at.layer, torch.from_numpy(delta)) for at, delta in deltas]
    tables = score_rows(
        model, queries, steerings, site, length_norm=length_norm, normalise=normalise, budget=budget
    )
    rows = [table.double().numpy() for table in tables]
    keys: list[Configuration | None] = [None, *(at for at, _ in deltas)]
    return Answers(
        tuple(example.id for example in examples),
        np.array([example.label for example in examples], np.int64),
        {key: tuple(row[i] for row in rows) for i, key in enumerate(keys)},
    )
