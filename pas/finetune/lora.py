"""Train low-rank adapters (LoRA, arXiv 2106.09685) on the tokens of correct answers."""

import copy
import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback

from pas.finetune.settings import FineTuning, Target
from pas.models.loading import LoadedModel

# Padded tokens of one forward and backward pass. On a CPU the backward pass needs about 3 MB per
# token at 135 million parameters, and more tokens are no faster on two cores. On a GPU it needs
# less, because of gradient checkpointing.
PASS_TOKENS = {"cpu": 512}
PASS_TOKENS_ELSEWHERE = 2048
_WARMUP = 0.1  # share of the steps, before the learning rate falls linearly to 0


def passes_of(batch_size: int, longest: int, limit: int) -> int:
    """Return the smallest number of equal passes with at most `limit` tokens each.

    Args:
        batch_size: Number of items of the step.
        longest: Length of the longest target in tokens, to which all may be padded.
        limit: Largest number of tokens of a pass. A longer item has a pass of its own.
    """
    even = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
    return next((n for n in even if batch_size // n * longest <= limit), batch_size)


def train_adapters(
    model: LoadedModel, targets: Sequence[Target], settings: FineTuning, seed: int, half: bool
) -> tuple[Any, tuple[float, ...]]:
    """Train adapters on the targets.

    Args:
        model: The base model; adapters are added to it.
        targets: The tokens to train on.
        settings: The settings of fine-tuning.
        seed: Seed of the adapters' first values, the dropout and the order of the targets.
        half: Whether passes run in bfloat16.

    Returns:
        The model with its adapters, and the loss of every step in nats per target token.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    rows = [{"input_ids": list(t.token_ids), "labels": list(t.labels)} for t in targets]
    longest = max(len(t.token_ids) for t in targets)
    limit = PASS_TOKENS.get(model.device.type, PASS_TOKENS_ELSEWHERE)
    passes = passes_of(settings.batch_size, longest, limit)
    watch, on_cpu = _Watch(), model.device.type == "cpu"
    with tempfile.TemporaryDirectory() as unused, warnings.catch_warnings():
        # trl's own defaults have names that transformers is about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft corrects this setting
        trainer = SFTTrainer(
            model.model,
            SFTConfig(
                unused, seed=seed, use_cpu=on_cpu, bf16=half, gradient_checkpointing=not on_cpu,
                learning_rate=settings.learning_rate, warmup_steps=_WARMUP,
                num_train_epochs=settings.epochs, max_steps=settings.max_steps or -1,
                per_device_train_batch_size=settings.batch_size // passes,
                gradient_accumulation_steps=passes,
                # The rows are tokenised as the scoring does it; nothing is to be cut or added.
                max_length=None, dataset_kwargs={"skip_prepare_dataset": True},
                dataloader_pin_memory=not on_cpu,
                logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=True,
                report_to="none", save_strategy="no", push_to_hub=False,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=copy.deepcopy(model.tokenizer),
            # Its own default needs a padding token, which many tokenizers lack.
            data_collator=DataCollatorForLanguageModeling(pad_token_id=model.pad_id),
            peft_config=LoraConfig(
                r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout,
                target_modules="all-linear", task_type="CAUSAL_LM",
            ),
            callbacks=[watch],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)  # stdout is for results
        trainer.train()
    return trainer.model, tuple(watch.losses)


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Records the losses and shows the progress of the training."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self.bar = tqdm(total=state.max_steps, desc="fine-tuning", disable=None, delay=2)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        del args, state, control, kwargs
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.bar.set_postfix(loss=f"{self.losses[-1]:.3f}", refresh=False)
            self.bar.update()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        self.bar.close()


@contextmanager
def randomness_restored() -> Iterator[None]:
    """On leaving the context, restore the random generators of random, NumPy and torch.

    The trainer seeds all of them.
    """
    plain, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)
