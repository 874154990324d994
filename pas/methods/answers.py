"""Answers of a model to items, unsteered and under configurations of the grid.

docs/method.md, "Prompt and scoring".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pas.data.examples import Example
from pas.engine.decisions import UNDECIDED, Ties, decide, tied
from pas.engine.memory import Budget
from pas.engine.prefix import Steering
from pas.engine.scoring import Query, ScoringRule
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
        item_ids: Ids of the items, in the order of the scores.
        labels: [n_items] int64, index of the correct choice.
        scores: For each configuration and item [n_choices] float64, in log units.
        picked: For each configuration [n_items] int64, index of the chosen choice, or
            `pas.engine.decisions.UNDECIDED` where a score is not finite.
    """

    item_ids: tuple[str, ...]
    labels: np.ndarray
    scores: Mapping[Configuration | None, Sequence[np.ndarray]]
    picked: Mapping[Configuration | None, np.ndarray]

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations that steer, in the order of `scores`."""
        return tuple(c for c in self.scores if c is not None)

    def scores_of(self, configuration: Configuration | None = None) -> Sequence[np.ndarray]:
        """Return each item's scores [n_choices] float64 under a configuration, in log units.

        Args:
            configuration: None, or a strength of 0, for the unsteered model.

        Raises:
            LookupError: If there are no answers under this configuration.
        """
        return self.scores[self._key(configuration)]

    def choices(self, configuration: Configuration | None = None) -> np.ndarray:
        """Return the chosen index of each item: [n_items] int64, `UNDECIDED` for none.

        Args:
            configuration: As for `scores_of`.

        Raises:
            LookupError: If there are no answers under this configuration.
        """
        return self.picked[self._key(configuration)]

    def _key(self, configuration: Configuration | None) -> Configuration | None:
        key = configuration if configuration is not None and configuration.strength else None
        if key not in self.scores:
            raise LookupError(f"there are no answers under {key or 'the unsteered model'}")
        return key

    def correct(self, configuration: Configuration | None = None) -> np.ndarray:
        """Return which items are answered correctly: [n_items] bool."""
        return np.asarray(self.choices(configuration) == self.labels)

    def accuracy(self, configuration: Configuration | None = None) -> float:
        """Return the share of items answered correctly."""
        return float(self.correct(configuration).mean())

    def undecided(self, configuration: Configuration | None = None) -> int:
        """Return the number of items with a score that is not finite."""
        return int((self.choices(configuration) == UNDECIDED).sum())

    def ties(self, configuration: Configuration | None = None) -> int:
        """Return the number of items with several choices of exactly the highest score."""
        return int(tied(self.scores_of(configuration)).sum())

    def under(self, names: Mapping[Configuration | None, Configuration | None]) -> "Answers":
        """Return the answers under some configurations, by other names.

        Args:
            names: For each new name the configuration that has the answers.
        """
        return Answers(
            self.item_ids,
            self.labels,
            {name: self.scores[at] for name, at in names.items()},
            {name: self.picked[at] for name, at in names.items()},
        )


def decided(
    item_ids: Sequence[str],
    labels: np.ndarray,
    scores: Mapping[Configuration | None, Sequence[np.ndarray]],
    ties: Ties = "even",
) -> Answers:
    """Return the answers that follow from scores.

    Args:
        item_ids: Ids of the items, in the order of the scores.
        labels: [n_items] int64, index of the correct choice.
        scores: For each configuration and item [n_choices], in log units.
        ties: Which one of equally high scores is taken.
    """
    picked = {at: decide(found, item_ids, ties) for at, found in scores.items()}
    return Answers(tuple(item_ids), labels, scores, picked)


def answer(
    model: LoadedModel,
    examples: Sequence[Example],
    queries: Sequence[Query],
    deltas: Sequence[tuple[Configuration, np.ndarray]],
    site: Site,
    rule: ScoringRule,
    *,
    normalise: bool = False,
    budget: Budget | None = None,
) -> Answers:
    """Answer items unsteered and under each (configuration, delta).

    Args:
        model: The model.
        examples: The items.
        queries: The same items, tokenised by `pas.engine.scoring.prepare`.
        deltas: Configurations and their [d_model] float32, direction times strength. A
            configuration of strength 0 is not needed.
        site: Where the deltas are added.
        rule: How choices are scored, and ties broken.
        normalise: Letter scoring: log-probabilities over the whole vocabulary.
        budget: Limits of a forward pass, by default chosen from the free memory.

    Raises:
        UserError: If the model has no such layer or site, or an unsteered score is not finite.
    """
    steerings = [Steering(c.layer, torch.from_numpy(delta)) for c, delta in deltas]
    tables = score_rows(
        model,
        queries,
        steerings,
        site,
        length_norm=rule.length_norm,
        normalise=normalise,
        budget=budget,
    )
    rows = [table.double().numpy() for table in tables]
    keys: list[Configuration | None] = [None, *(c for c, _ in deltas)]
    return decided(
        [example.id for example in examples],
        np.array([example.label for example in examples], np.int64),
        {key: tuple(row[i] for row in rows) for i, key in enumerate(keys)},
        rule.ties,
    )
