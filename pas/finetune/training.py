"""Supervised fine-tuning, the arm that steering is compared with and that it can be added to.

METHOD.md, "Studies": SFT, PAS, SFT+PAS. Low-rank adapters (LoRA, arXiv 2106.09685) are trained on
the right answers and merged, so what comes out is a model like any other: the same loader,
extraction and sweep serve it.
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
from transformers import AutoConfig

from pas.data.examples import Example
from pas.data.prompts import full_prompt
from pas.engine.scoring import ScoringRule, prepare
from pas.errors import UserError
from pas.finetune.lora import randomness_restored, train_adapters
from pas.finetune.settings import FineTuning, Target
from pas.models.files import model_folder
from pas.models.loading import ModelInfo, load_model, load_model_info
from pas.models.spec import Dtype, ModelSpec, resolve_device

IGNORED = -100  # what torch's cross-entropy leaves out
_RECORD = "finetuning.json"


class FineTunedModel(NamedTuple):
    """A fine-tuned model.

    Attributes:
        folder: In hub layout, ready for `pas.models.loading.load_model`.
        n_items: Items that it was trained on.
        losses: Mean cross-entropy of a target token at every step, in nats.
        seconds: Loading, training, merging and saving.
    """

    folder: Path
    n_items: int
    losses: tuple[float, ...]
    seconds: float


def require_libraries() -> None:
    """Refuse to begin without what only fine-tuning needs.

    Raises:
        UserError: Naming the command that installs it.
    """
    if find_spec("peft") is None or find_spec("trl") is None:
        raise UserError("fine-tuning needs peft and trl: pip install 'painless-steering[sft]'")


def target(info: ModelInfo, example: Example, rule: ScoringRule) -> Target:
    """Return the tokens that scoring reads for the right answer, behind their prompt.

    Letter scoring: the prompt and one letter, with its space where the rule reads that. Choice
    scoring: question + " " + text, the answer beginning where
    `pas.engine.scoring.prepare` lets it begin.

    Raises:
        UserError: If the text exceeds the context window or a letter has no token of its own.
    """
    prompt = full_prompt(example, rule.kind)
    asked = prepare(info, prompt, example.choices, example.label, rule)
    if asked.letters:
        fed, answer = asked.sequences[0].token_ids, asked.letters[example.label][-1:]
        window = info.context_window
        if window is not None and len(fed) == window:
            raise UserError(
                f"a prompt of {len(fed)} tokens leaves no room for its letter in the context "
                f"window: it starts {prompt[:60]!r}. Shorten or remove it."
            )
        whole = (*fed, *answer)
    else:
        tail = asked.sequences[example.label]
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
    """Fine-tune a model of our own loading and save it; models that others hold stay as they are.

    Adapters are float32. The weights that they change are float32 too, on a GPU bfloat16 where the
    checkpoint is; there passes run in bfloat16 if it can. The merge is computed in float32 and
    saved in the checkpoint's own dtype, so that base and result are run alike. On a CPU the same
    seed gives the same weights.

    Args:
        spec: The base; its dtype is not that of training.
        cache_dir: As for `pas.models.loading.load_model`.
        examples: Training items, choices in the order shown.
        rule: How the answers will be scored, which is what is taught.
        settings: How.
        folder: Where the model goes, whole or not at all; left alone if it is there already.
        seed: Of the adapters' first values, the dropout and the order of the items.

    Raises:
        UserError: Without the libraries, for a quantised base, more than one GPU in sight, items
            that cannot be tokenised, or losses that are no numbers.
    """
    require_libraries()
    if spec.quantization:
        raise UserError(
            f"quantization {spec.quantization}: merged weights are whole ones, so fine-tune "
            "without it and give it to the training on the result"
        )
    device = resolve_device(spec)
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        raise UserError(
            "fine-tuning runs on one GPU: make only that one visible, such as by "
            "CUDA_VISIBLE_DEVICES=0"
        )
    begun = time.monotonic()
    info = load_model_info(spec, cache_dir)
    targets = [target(info, example, rule) for example in examples]
    stored = _stored_dtype(spec, model_folder(spec, cache_dir))
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype: Dtype = "bfloat16" if half and stored == torch.bfloat16 else "float32"
    model = load_model(replace(spec, dtype=dtype), cache_dir)
    base = copy.deepcopy((model.model.config, model.model.generation_config))
    with randomness_restored():
        adapted, losses = train_adapters(model, targets, settings, seed, half)
    if not np.isfinite(losses).all():
        raise UserError(
            f"the loss became {losses[-1]} in {len(losses)} steps: lower --learning-rate "
            f"{settings.learning_rate}"
        )
    merged = adapted.to("cpu", torch.float32).merge_and_unload().to(stored)
    # The trainer writes its own special tokens into both; the architecture is the base's.
    merged.config, merged.generation_config = base

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / folder.name
        merged.save_pretrained(made)
        info.tokenizer.save_pretrained(made)
        tuned = FineTunedModel(folder, len(examples), losses, time.monotonic() - begun)
        how = {"base": spec.as_dict(), "rule": rule.name, "seed": seed, **asdict(settings)}
        told = {"n_items": tuned.n_items, "losses": losses, "seconds": tuned.seconds}
        (made / _RECORD).write_text(json.dumps(how | told, indent=2) + "\n")
        try:
            made.rename(folder)
        except OSError:
            if not is_fine_tuned(folder):
                raise
    return tuned


def is_fine_tuned(folder: Path) -> bool:
    """Whether the folder holds a finished model of `finetune`."""
    return (folder / _RECORD).is_file()


def read_fine_tuned(folder: Path) -> FineTunedModel:
    """Return what `finetune` returned for this folder."""
    told = json.loads((folder / _RECORD).read_text())
    return FineTunedModel(folder, told["n_items"], tuple(told["losses"]), told["seconds"])


def _stored_dtype(spec: ModelSpec, folder: Path) -> torch.dtype:
    options = {"trust_remote_code": spec.trust_remote_code}
    dtype = AutoConfig.from_pretrained(folder, **options).get_text_config().dtype
    return getattr(torch, str(dtype or "float32").removeprefix("torch."))  # type: ignore[no-any-return]
