"""Supervised fine-tuning, which steering is compared with and can be combined with.

docs/method.md, "Studies". Low-rank adapters (LoRA, arXiv 2106.09685) are trained on the correct
answers and merged into the weights. The result is loaded, read and swept like any other model.
"""

import copy
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pas.data.chat import chat_of
from pas.data.examples import Example
from pas.data.prompts import full_prompt
from pas.engine.scoring import ScoringRule, prepare
from pas.errors import UserError
from pas.files import make_readable
from pas.finetune.settings import FineTuning, Target
from pas.models.files import model_folder, stored_dtype
from pas.models.loading import ModelInfo, load_model, load_model_info
from pas.models.spec import Dtype, ModelSpec, resolve_device

IGNORED = -100  # the label that torch's cross-entropy ignores
_RECORD = "finetuning.json"


class FineTunedModel(NamedTuple):
    """A fine-tuned model.

    Attributes:
        folder: Folder in hub layout, for `pas.models.loading.load_model`.
        n_items: Number of items that it was trained on.
        losses: Mean cross-entropy of a target token at every step, in nats.
        seconds: Time for loading, training, merging and saving.
    """

    folder: Path
    n_items: int
    losses: tuple[float, ...]
    seconds: float


def require_libraries() -> None:
    """Check that the libraries for fine-tuning are installed.

    Raises:
        UserError: If one is missing. The message gives the command that installs it.
    """
    if find_spec("peft") is None or find_spec("trl") is None:
        raise UserError("fine-tuning needs peft and trl: pip install 'painless-steering[sft]'")


def target(info: ModelInfo, example: Example, rule: ScoringRule) -> Target:
    """Return the tokens of the prompt and of the correct answer, as scoring reads them.

    Letter scoring: the prompt and one letter, with a leading space if the rule uses that and the
    letter follows one. Choice scoring: the question and the choice's text. The answer starts where
    `pas.engine.scoring.prepare` lets it start.

    Args:
        info: The tokenizer.
        example: The item.
        rule: How choices are scored.

    Raises:
        UserError: If the text exceeds the context window or a letter is not a single token.
    """
    chat = chat_of(info, rule.prompt)
    prompt = full_prompt(example, rule.kind, chat)
    query = prepare(info, prompt, example.choices, example.label, rule)
    if query.letters:
        # Variants are the bare letter and the one with a space.
        variants = query.letters[example.label]
        bare = chat is not None and not chat.gap
        prompt_ids, answer = query.sequences[0].token_ids, variants[:1] if bare else variants[-1:]
        window = info.context_window
        if window is not None and len(prompt_ids) == window:
            raise UserError(
                f"a prompt of {len(prompt_ids)} tokens leaves no room for its letter in the "
                f"context window: it starts with {prompt[:60]!r}. Shorten or remove it."
            )
        whole = (*prompt_ids, *answer)
    else:
        tail = query.sequences[example.label]
        whole, answer = (*tail.token_ids, tail.targets[-1]), tail.targets
    return Target(whole, (IGNORED,) * (len(whole) - len(answer)) + answer)


def finetune(
    spec: ModelSpec,
    cache_dir: Path,
    examples: Sequence[Example],
    rule: ScoringRule,
    settings: FineTuning,
    folder: Path,
    seed: int,
) -> FineTunedModel:
    """Fine-tune a model and save the result. The model is loaded anew, and others do not change.

    Adapters are float32. The base weights are float32 too, or bfloat16 on a GPU that supports it if
    the checkpoint is bfloat16. On such a GPU passes run in bfloat16. The merge is computed in
    float32 and saved in the checkpoint's own dtype, so that base and result run in the same way. On
    a CPU the same seed gives the same weights.

    Args:
        spec: The base model. Its dtype is not used for training.
        cache_dir: As for `pas.models.loading.load_model`.
        examples: Training items, with their choices in the order shown.
        rule: How the answers are scored; this determines the target tokens.
        settings: The settings of fine-tuning.
        folder: Folder of the result. It is written completely or not at all, and not changed if
            it contains a fine-tuned model already.
        seed: Seed of the adapters' first values, the dropout and the order of the items.

    Raises:
        UserError: If a library is missing, the base is quantised, more than one GPU is visible, an
            item cannot be tokenised, or a loss is not finite.
    """
    require_libraries()
    from pas.finetune.lora import randomness_restored, train_adapters  # it imports a trainer

    if spec.quantization:
        raise UserError(
            f"quantization {spec.quantization}: adapters cannot be merged into quantised weights. "
            "Fine-tune without it, and quantise the result."
        )
    device = resolve_device(spec)
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        raise UserError(
            "fine-tuning runs on one GPU: make only one visible, for example with "
            "CUDA_VISIBLE_DEVICES=0"
        )
    begun = time.monotonic()
    info = load_model_info(spec, cache_dir)
    targets = [target(info, example, rule) for example in examples]
    stored: torch.dtype = getattr(torch, stored_dtype(model_folder(spec, cache_dir)))
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype: Dtype = "bfloat16" if half and stored == torch.bfloat16 else "float32"
    model = load_model(replace(spec, dtype=dtype), cache_dir)
    base = copy.deepcopy((model.model.config, model.model.generation_config))
    with randomness_restored():
        adapted, losses = train_adapters(model, targets, settings, seed, half)
    if not np.isfinite(losses).all():
        raise UserError(
            f"the loss became {losses[-1]} in {len(losses)} steps: lower --learning-rate "
            f"(learning_rate), which is {settings.learning_rate}"
        )
    merged = adapted.to("cpu", torch.float32).merge_and_unload().to(stored)
    # The trainer changes special tokens in both, so the base's are restored.
    merged.config, merged.generation_config = base

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / folder.name
        merged.save_pretrained(made)
        info.tokenizer.save_pretrained(made)
        tuned = FineTunedModel(folder, len(examples), losses, time.monotonic() - begun)
        how = {"base": spec.as_dict(), "rule": rule.name, "seed": seed, **asdict(settings)}
        outcome = {"n_items": tuned.n_items, "losses": losses, "seconds": tuned.seconds}
        (made / _RECORD).write_text(json.dumps(how | outcome, indent=2) + "\n")
        make_readable(made)
        try:
            made.rename(folder)
        except OSError:
            if not is_fine_tuned(folder):
                raise
    return tuned


def is_fine_tuned(folder: Path) -> bool:
    """Return whether the folder contains a model that `finetune` has saved."""
    return (folder / _RECORD).is_file()


def read_fine_tuned(folder: Path) -> FineTunedModel:
    """Return the result of `finetune` for this folder."""
    record = json.loads((folder / _RECORD).read_text())
    return FineTunedModel(folder, record["n_items"], tuple(record["losses"]), record["seconds"])
