"""A tiny model that a vector really steers, and items that show it."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.helpers.tiny_models import D_MODEL, N_BLOCKS, tiny_tokenizer

_RIGHT = ("small fish", "river snails", "acorns and roots")
_WRONG = ("old bread", "beetles", "clover")
_ANIMALS = ("heron", "badger", "otter", "magpie", "newt", "lynx", "mole", "plaice")
_PLACES = ("under the bridge", "by the mill", "in the reeds", "on the roof", "near the barn")


def save_steerable(folder: Path) -> Path:
    """Write a random model whose output head is its embedding, with small weights.

    What a text's last token leaves in the residual stream is then what makes that token likely, so
    the difference of two sets of texts makes the one set more likely than the other.
    """
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=D_MODEL,
                intermediate_size=2 * D_MODEL,
                num_hidden_layers=N_BLOCKS,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                initializer_range=0.05,
                vocab_size=len(tokenizer),
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                tie_word_embeddings=True,
            )
        ).float()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_meals(file: Path, n: int = 240, *, when: str = "morning", label: int = 0) -> Path:
    """Write items on what animals eat, in 40 groups.

    Args:
        file: JSON lines.
        n: Items; the first ones are the same for every number.
        when: Part of the questions: another one makes other items.
        label: 0 if the kind of food is right that it is right for the training, 1 if the other is.
    """
    draw, rows = random.Random(0), []
    for number in range(n):
        animal = _ANIMALS[number % len(_ANIMALS)]
        place = _PLACES[number // len(_ANIMALS) % len(_PLACES)]
        rows.append({
            "id": f"{when}-{number}", "scene": f"{animal} {place}", "label": label,
            "question": f"The {animal} sat {place} all {when}. What did it eat?",
            "choices": [draw.choice(_RIGHT), draw.choice(_WRONG)],
        })  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def meals_recipe(folder: Path, task: str = "meals", **changes: Any) -> dict[str, Any]:
    """Return a recipe as a deployment's parameter; its vector's gain is real."""
    model, data = folder / "steerable", folder / "meals.jsonl"
    if not model.exists():
        save_steerable(model)
    if not data.exists():
        write_meals(data)
    recipe = {
        "task": task, "data": str(data), "model": str(model),
        "mapping": {"group": "scene", "id": "id"},
        "scoring": "choice", "methods": ["caa"], "layers": "0,1,2,3", "strengths": "1,2,4",
    }  # fmt: skip
    return recipe | changes
