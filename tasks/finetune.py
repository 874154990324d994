"""Fine-tune: a model trained on the training items of a split, in a folder next to the lake."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pas.finetune.settings import FineTuning
from pas.finetune.training import FineTunedModel, finetune, is_fine_tuned, read_fine_tuned
from pas.recipe import Recipe
from storage.lake.stages import read_split
from storage.settings import settings
from tasks import resources

_VERSION = 1


def sft_folder(recipe: Recipe, split_at: str, tuning: FineTuning) -> Path:
    """Return the folder of the fine-tuned model.

    The name is a hash of what determines the weights: the base, the split with its choices in
    the order shown, what the scoring reads, the settings and the seed.
    """
    base = resources.resolved(recipe).fingerprint
    determinants = [
        _VERSION,
        base,
        split_at,
        resources.resolved(recipe).rule.name,
        asdict(tuning),
        recipe.seed,
    ]
    text = json.dumps(determinants, sort_keys=True)
    name = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return settings().root / "models" / f"{recipe.model.slug}-sft-{recipe.task}-{name}"


# The folder is on this machine alone and may have been removed, so Prefect's cache cannot know.
@task(name="fine-tune", task_run_name="fine-tune {recipe.task}", cache_policy=NO_CACHE)
def fine_tune(recipe: Recipe, split_at: str, tuning: FineTuning) -> FineTunedModel:
    """Train on the training items alone; an existing folder is used as it is.

    Raises:
        UserError: For data or a model that cannot be used, see `pas.finetune.training.finetune`.
    """
    folder = sft_folder(recipe, split_at, tuning)
    if is_fine_tuned(folder):
        return read_fine_tuned(folder)
    items = read_split(resources.lake(), split_at).train
    return finetune(
        recipe.model,
        settings().cache_dir,
        items,
        resources.resolved(recipe).rule,
        tuning,
        folder,
        recipe.seed,
    )
