"""Forgetting: what a task's vector does to another task, and to neutral text.

docs/method.md, "Studies" (arXiv 2509.22739): accuracy on MMLU under the task vector.
"""

from typing import NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE

from pas.evidence.paired import Comparison, compare
from pas.methods.grid import Configuration
from pas.recipe import Recipe
from pas.study.results import CurvePoint, StudyResult
from storage.lake.stages import read_split
from storage.lake.tables import table_address
from tasks import resources
from tasks.answers import answer_items
from tasks.damage import damage_of
from tasks.estimate import read_directions
from tasks.load import load


class Forgetting(NamedTuple):
    """The effect on another task's test items.

    Attributes:
        comparison: Steered by the vector at its own strength against unsteered.
        neutral_kl: Of that strength, nats per token.
        curve: Every strength that was tried, its own among them, ascending.
    """

    comparison: Comparison
    neutral_kl: float
    curve: tuple[CurvePoint, ...]


@task(
    name="forget",
    task_run_name="ask {target.task} under the vector of {recipe.task}",
    cache_policy=NO_CACHE,
)
def forget(
    recipe: Recipe, trained: StudyResult, target: Recipe, strengths: tuple[float, ...]
) -> Forgetting:
    """Ask another task's test items under a training's vector.

    Args:
        recipe: Of the training.
        trained: What it found: the run that keeps its vectors, and the configuration it chose.
        target: The task that is asked; its items, prompts and scoring.
        strengths: Tried besides the vector's own.

    Raises:
        UserError: For the target's data.
    """
    test = read_split(resources.lake(), load(target)).test
    directions = read_directions(table_address(resources.lake(), "vectors", trained.run_id))
    own = Configuration(trained.method, trained.layer, trained.strength)
    tried = [own._replace(strength=s) for s in sorted({*strengths, own.strength})]
    answers = answer_items(
        target, test, directions.deltas(tried), normalise=False, site=recipe.site
    )
    damage = damage_of(recipe, directions, tried)
    return Forgetting(
        compare(answers.correct(), answers.correct(own)),
        damage[own].kl,
        tuple(CurvePoint(at.strength, answers.accuracy(at), damage[at].kl) for at in tried),
    )
