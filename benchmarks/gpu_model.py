"""A model of a known shape with random weights, and items of BBQ's lengths as token ids."""

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from pas.data.prompts import Prompt, prompt_key
from pas.engine.prefix import Steering
from pas.engine.scoring import Query, ScoredSequence
from pas.engine.trie import Tokens
from pas.methods.grid import PAPER_STRENGTHS, layers_of
from pas.models.loading import LoadedModel, ModelInfo
from pas.models.spec import ModelSpec

METHODS = 3
CHOICES = 3
STATEMENTS = 3
SPREAD = 1.28  # width x std^2 is 1.64, so a logit's standard deviation is near this
_FREE_OF_SHAPE = {
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
}
_SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)
SHAPES = {
    "llama-3.1-8b": (32, 4096, 32, 8, 14336, 128256),
    "llama-3.2-1b": (16, 2048, 32, 8, 8192, 128256),
    "smollm2-135m": (30, 576, 9, 3, 1536, 49152),
    "tiny": (8, 64, 4, 2, 160, 512),
}


class NoText:
    """Takes the place of a tokenizer, because the measurements start from token ids."""

    pad_token_id = 0
    eos_token_id = 0

    def decode(self, *_: object, **__: object) -> str:
        """Return no text."""
        return ""


class Item(NamedTuple):
    """An item: the full prompt and the statements, as token ids."""

    asked: Tokens
    statements: tuple[Tokens, ...]


class EngineInputs(NamedTuple):
    """Items in the form of the engine's arguments."""

    prompts: list[Prompt]
    questions: list[Query]

    def first(self, count: int) -> "EngineInputs":
        """Return the inputs of the first items only."""
        each = len(self.prompts) // len(self.questions)
        return EngineInputs(self.prompts[: count * each], self.questions[:count])

    @property
    def sequences(self) -> list[Tokens]:
        """All sequences that extraction runs."""
        return [p.token_ids for p in self.prompts] + self.asked

    @property
    def asked(self) -> list[Tokens]:
        """All sequences that the sweep runs."""
        return [question.sequences[0].token_ids for question in self.questions]


def build(shape: str, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Return a Llama of that shape with random weights, created on the device."""
    sizes = dict(zip(_SIZES, SHAPES[shape], strict=True))
    std = SPREAD / sizes["hidden_size"] ** 0.5
    config = LlamaConfig(**sizes, **_FREE_OF_SHAPE, initializer_range=std)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return loaded(model.eval(), shape)


def loaded(model: Any, shape: str) -> LoadedModel:
    """Return the model as `pas.models.loading.load_model` does."""
    config = model.config
    tokens = ModelInfo(
        NoText(),
        "0" * 32,
        config.max_position_embeddings,
        config.num_hidden_layers,
        config.hidden_size,
        sum(p.numel() for p in model.parameters()),
        config.model_type,
    )
    return LoadedModel(model, tokens, ModelSpec(shape, device=str(model.device)))


def draw(n: int, vocabulary: int, shots: int, seed: int = 0) -> list[Item]:
    """Draw items with BBQ's lengths; each context belongs to two to four of them."""
    rng = random.Random(seed)

    def ids(least: int, most: int) -> Tokens:
        return tuple(rng.randrange(2, vocabulary) for _ in range(rng.randint(least, most)))

    start = (1, *ids(shots, shots))
    found: list[Item] = []
    while len(found) < n:
        context = start + ids(35, 55)
        for _ in range(rng.randint(2, 4)):
            question = context + ids(8, 16)
            statements = tuple(question + ids(3, 7) for _ in range(STATEMENTS))
            found.append(Item(question + ids(44, 56), statements))
    return found[:n]


def prepared(items: Sequence[Item], vocabulary: int) -> EngineInputs:
    """Return the arguments of `read` and `score_rows`. The letters are arbitrary tokens."""
    letters = tuple((vocabulary - 1 - i,) for i in range(CHOICES))
    prompts = [
        Prompt(prompt_key("0" * 32, ids), "", ids)
        for item in items
        for ids in (item.asked, *item.statements)
    ]
    return EngineInputs(
        prompts, [Query((ScoredSequence(i.asked, 1, ()),), letters, 0) for i in items]
    )


def grid(model: LoadedModel, count: int) -> list[Steering]:
    """Return `count` of the paper's 420 configurations, over its layers, strengths and methods."""
    made = torch.Generator().manual_seed(1)
    cells = []
    for layer in layers_of("auto", model.n_layers):
        for _ in range(METHODS):
            # With the norm of an embedding, so that strengths go from weak to very strong.
            direction = torch.randn(model.info.d_model, generator=made)
            direction *= SPREAD / direction.norm()
            cells += [Steering(layer, strength * direction) for strength in PAPER_STRENGTHS]
    return [cells[i * len(cells) // count] for i in range(min(count, len(cells)))]


def settle(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one run, from an idle device to an idle device."""
    settle(device)
    start = perf_counter()
    run()
    settle(device)
    return perf_counter() - start


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float]]:
    """Record the peak of allocated gigabytes, including the weights; {} without CUDA."""
    found: dict[str, float] = {}
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if device.type == "cuda":
        found["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
