"""The sweep, and the selection of a configuration, with a model in memory.

docs/method.md, "Pipeline", step 5, and "Selection" (arXiv 2509.22739).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pas.data.examples import Example
from pas.data.splits import Protocol
from pas.engine.scoring import ScoringRule, query_of
from pas.evidence.damage import Damage, neutral_damage
from pas.methods.answers import Answers, answer
from pas.methods.grid import Cell, Configuration, Directions, grid
from pas.methods.selection import MAX_KL, Rule, Selection, choose, count
from pas.models.loading import LoadedModel
from pas.models.sites import Site

Measure = Callable[[Sequence[Configuration]], Mapping[Configuration, Damage]]
"""Measures what configurations do to neutral text, see `pas.evidence.damage.neutral_damage`."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """The results of the validation items under every configuration.

    Attributes:
        directions: The directions of the sweep.
        answers: Answers to the validation items.
        cells: Number of correct answers of every configuration.
        rule: How choices were scored.
        site: Where the directions were added.
        damage: Damage to neutral text, of the configurations for which it was asked so far.
    """

    directions: Directions
    answers: Answers
    cells: tuple[Cell, ...]
    rule: ScoringRule
    site: Site
    damage: dict[Configuration, Damage] = field(default_factory=dict)

    def damage_of(self, configurations: Sequence[Configuration], measure: Measure) -> list[Damage]:
        """Return the damage of configurations; each is measured once."""
        todo = sorted({*configurations} - {*self.damage})
        if todo:
            self.damage.update(measure(todo))
        return [self.damage[c] for c in configurations]


def answer_examples(
    model: LoadedModel,
    examples: Sequence[Example],
    deltas: Sequence[tuple[Configuration, np.ndarray[Any, Any]]],
    rule: ScoringRule,
    site: Site,
    *,
    normalise: bool = False,
) -> Answers:
    """Answer items unsteered and under each (configuration, [d_model] float32).

    Args:
        model: The model.
        examples: The items.
        deltas: Configurations and what they add.
        rule: How choices are scored.
        site: Where the deltas are added.
        normalise: Letter scoring: log-probabilities over the whole vocabulary.

    Raises:
        UserError: If a prompt exceeds the context window, or the model has no such layer or site.
    """
    queries = [query_of(model.info, example, rule) for example in examples]
    return answer(model, examples, queries, deltas, site, rule, normalise=normalise)


def sweep(
    model: LoadedModel,
    examples: Sequence[Example],
    directions: Directions,
    strengths: Sequence[float],
    rule: ScoringRule | None = None,
    site: Site = "residual",
) -> Sweep:
    """Answer the validation items in every configuration of directions and strengths.

    Args:
        model: The model.
        examples: The validation split.
        directions: From `pas.estimate`.
        strengths: Factors on each direction. With 0, the unsteered model can be selected.
        rule: How choices are scored; by letter by default.
        site: Where the directions are added.

    Raises:
        UserError: If a prompt exceeds the context window, or the model has no such layer or site.
    """
    rule = rule or ScoringRule()
    configurations = grid(directions, sorted(set(strengths)))
    deltas = directions.deltas(configurations)
    answers = answer_examples(model, examples, deltas, rule, site)
    cells = tuple(count(answers, directions, configurations))
    return Sweep(directions, answers, cells, rule, site)


def select(
    model: LoadedModel,
    swept: Sweep,
    protocol: Protocol = "sound",
    rule: Rule = "best",
    max_kl: float | None = MAX_KL,
) -> Selection:
    """Select a configuration for each method, and one among all of them.

    Under `sound`, a configuration whose damage to neutral text exceeds `max_kl` is not selected.
    Damage is measured for the best configurations first, until one is accepted.

    Args:
        model: The model.
        swept: From `sweep`.
        protocol: `paper` uses the published tie rule and has no limit on damage.
        rule: "best", "one-se" or "least-damage", see `pas.methods.selection.select`.
        max_kl: Largest divergence on neutral text, in nats per token; None for no limit.

    Raises:
        UserError: If the damage of every configuration exceeds the limit.
    """
    return select_measuring(damage_meter(model, swept), swept, protocol, rule, max_kl)


def damage_meter(model: LoadedModel, swept: Sweep) -> Measure:
    """Return what measures the damage of a sweep's configurations."""
    return lambda todo: neutral_damage(model, swept.directions, todo, swept.site)


def select_measuring(
    measure: Measure, swept: Sweep, protocol: Protocol, rule: Rule, max_kl: float | None
) -> Selection:
    """Select as `select` does; `measure` measures the damage that is not known yet."""
    return choose(
        swept.cells,
        protocol,
        rule,
        answers=swept.answers,
        damage=lambda configurations: [d.kl for d in swept.damage_of(configurations, measure)],
        max_kl=max_kl,
    )
