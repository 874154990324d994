"""Watch: score a champion on rows that were labelled after its training."""

import logging
from dataclasses import replace
from typing import NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE

from pas.data.examples import Example
from pas.data.splits import Split, order_choices
from pas.engine.scoring import ScoringRule, query_of
from pas.errors import UserError
from pas.evidence.drift import Drift, drift
from pas.evidence.paired import Comparison, compare
from pas.intake.sources import Source
from pas.methods.strengths import configuration_of
from pas.reading import take_in
from pas.recipe import Recipe
from pas.steering.vector import SteeringVector
from storage.lake.stages import read_split
from storage.lake.verification import intact
from storage.registry.runs import read_lineage
from storage.registry.versions import CHAMPION, VectorVersion, load_vector, resolve
from tasks import resources
from tasks.answers import answer_with
from tasks.promote import evaluation_of
from tasks.scorable import scorable

log = logging.getLogger("pas")


class Watch(NamedTuple):
    """A champion on fresh rows.

    Attributes:
        champion: The version that was champion at the time.
        task: Its task.
        known: Items of the source that its training had, which are left out.
        drift: The others against its test items; None if there are none.
    """

    champion: VectorVersion
    task: str
    known: int
    drift: Drift | None


# The source and the champion change under the same names.
@task(name="score-fresh-items", task_run_name="score {name} on fresh items", cache_policy=NO_CACHE)
def score_fresh(name: str, source: Source) -> Watch:
    """Compare the champion with the unsteered model on the items of a source.

    The rows are read, ordered and asked as in the champion's training, after the worked examples of
    its test items. Items that the training had, in any of its splits, are left out: by question and
    choices, because another file may number its rows anew.

    Args:
        name: Registered model.
        source: Freshly labelled rows, in the columns of the training's data.

    Raises:
        UserError: If there is no champion, the lake has lost its training's items, or the source
            cannot be read as the training's data were.
    """
    registry, lake = resources.registry(), resources.lake()
    champion = resolve(registry, f"{name}@{CHAMPION}")
    vector = load_vector(registry, champion)
    before = evaluation_of(vector, champion).test
    lineage = read_lineage(registry, champion.run_id)
    address = lineage["stages"]["split"]
    if not intact(lake, address):
        raise UserError(
            f"{name}: the items that version {champion.version} was trained on are not in the lake "
            f"{lake.name}. Set PAS_LAKE to the lake it was trained with, or train it again."
        )
    parts = read_split(lake, address)
    recipe = Recipe.read(lineage["recipe"]).but(data=source, keep_splits=False)
    items = take_in(recipe).examples
    had = {_content(e) for part in parts for e in part}
    fresh = tuple(_as_shown(e, recipe, parts.test[0]) for e in items if _content(e) not in had)
    asked = scorable(recipe, Split((), (), fresh))[0].test
    found = _compare(vector, asked, before, recipe.seed) if asked else None
    return Watch(champion, recipe.task, len(items) - len(fresh), found)


def _content(example: Example) -> tuple[str, frozenset[str]]:
    return example.question, frozenset(example.choices)


def _as_shown(example: Example, recipe: Recipe, held_out: Example) -> Example:
    """Order the choices as the training does, after the worked examples of its test items."""
    seed = recipe.seed if recipe.order_seed is None else recipe.order_seed
    shown = order_choices(example, seed, recipe.protocol)
    return replace(shown, prefix=held_out.prefix, turns=held_out.turns)


def _compare(
    vector: SteeringVector, items: tuple[Example, ...], before: Comparison, seed: int
) -> Drift:
    model = resources.model(vector.model)
    if model.fingerprint != vector.fingerprint:
        log.warning("watch: the model or its libraries have changed since the training")
    rule = ScoringRule(**vector.provenance["rule"], prompt=vector.prompt)
    queries = [query_of(model.info, e, rule) for e in items]
    answers = answer_with(vector, items, queries, rule)
    return drift(
        before, compare(answers.correct(), answers.correct(configuration_of(vector)), seed)
    )
