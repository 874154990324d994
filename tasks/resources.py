"""What tasks share within a process: the lake, the registry, and one loaded model."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from pas.data.chat import Chat, chat_of
from pas.engine.memory import Budget, fitting
from pas.engine.scoring import Query
from pas.models.files import model_folder, resolve_dtype
from pas.models.loading import LoadedModel, ModelInfo, load_model, load_model_info
from pas.models.spec import ModelSpec
from pas.recipe import Recipe, Setup, resolve
from storage.lake.files import Lake
from storage.settings import Registry, settings

_loading = threading.Lock()


def lake() -> Lake:
    """Return the lake that the settings name."""
    return settings().open_lake()


def registry() -> Registry:
    """Return the MLflow store that the settings name."""
    return settings().open_registry()


def budget(model: LoadedModel, questions: Sequence[Query]) -> Budget:
    """Return the limits of a scoring pass: what is set, or what the free memory holds."""
    longest = max((len(t.token_ids) for q in questions for t in q.sequences), default=1)
    return fitting(model, longest, settings().batch_tokens, settings().batch_rows)


def hide_progress() -> None:
    """Turn transformers' progress bars off, which would bury our lines; the hub's own stay."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


@lru_cache(maxsize=4)
def model_info(spec: ModelSpec) -> ModelInfo:
    """Return the tokenizer and the facts of a model, loaded once per process."""
    hide_progress()
    return load_model_info(spec, settings().cache_dir)


@lru_cache(maxsize=64)
def resolved(recipe: Recipe) -> Setup:
    """Return the recipe's layers, strengths and rule with its model, worked out once per process.

    Raises:
        UserError: If the model lacks one of the layers, or its chat template cannot do what the
            recipe asks for.
    """
    return resolve(recipe, model_info(recipe.model))


def chat(recipe: Recipe) -> Chat | None:
    """Return the chat template that the recipe's prompts are rendered with; None for plain ones."""
    return chat_of(model_info(recipe.model), resolved(recipe).rule.prompt)


def activation_dtype(spec: ModelSpec) -> str:
    """Return the dtype that the model will compute in, "float32" for example."""
    folder = model_folder(spec, settings().cache_dir)
    return str(resolve_dtype(spec, folder)).removeprefix("torch.")


def decided_by(recipe: Recipe) -> dict[str, str]:
    """Return what decides an answer besides the scores, as ingredients of a stage.

    In float32 nothing does, and stages keep the addresses that they had before there was a rule for
    ties. In 16 bits scores are often equal, or not finite.
    """
    half = activation_dtype(recipe.model) != "float32"
    return {"ties": resolved(recipe).rule.ties} if half else {}


@lru_cache(maxsize=1)
def _model(spec: ModelSpec) -> LoadedModel:
    hide_progress()
    return load_model(spec, settings().cache_dir)


def model(spec: ModelSpec) -> LoadedModel:
    """Return the model, loaded once per process; threads wait for the one that loads it."""
    if settings().trust_remote_code:
        spec = replace(spec, trust_remote_code=True)
    with _loading:
        return _model(spec)
