"""Supervised fine-tuning, the arm that steering is compared with and that it can be added to.

METHOD.md, "Studies": SFT, PAS, SFT+PAS. Low-rank adapters (LoRA, arXiv 2106.09685) are trained on
the right answers and merged, so what comes out is a model like any other: the same loader,
extraction and sweep serve it.
"""

import copy
import json
import random
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoConfig, TrainerCallback

from pas.errors import UserError
from pas.examples import Example
from pas.model_files import ModelSpec, model_folder, resolve_device
from pas.models import LoadedModel, LoadedTokenizer, load_model, load_tokenizer
from pas.prompts import full_prompt
from pas.score import ScoringRule, prepare

IGNORED = -100  # what torch's cross-entropy leaves out
_RECORD = "finetuning.json"
# Padded tokens of one forward and backward pass: what is kept for the way back takes some 3 MB a
# token at 135 million parameters, and more tokens make two cores no faster. Elsewhere less is kept.
_PASS_TOKENS = {"cpu": 512}
_PASS_TOKENS_ELSEWHERE = 2048
_WARMUP = 0.1  # share of the steps, before the rate falls linearly to nothing


@dataclass(frozen=True)
class FineTuning:
    """How a model is fine-tuned.

    Attributes:
        rank: Of the two factors of every linear layer's change.
        alpha: The change is scaled by alpha / rank.
        dropout: Share of an adapter's inputs that is dropped while training, 0 to below 1.
        learning_rate: Of AdamW at its height, per step.
        epochs: Times that every training item is seen. Where none is answered wrongly afterwards,
            only CAA still has a vector: fewer epochs leave a worse model with room for the others.
        batch_size: Items of one step, however many passes their length makes of it.
        max_steps: End after so many steps, whatever the epochs; None for no limit.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    learning_rate: float = 2e-4
    epochs: int = 3
    batch_size: int = 16
    max_steps: int | None = None

    # As a flow parameter: see `tasks.recipe.Recipe`.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse what cannot work before a model is loaded.

        Raises:
            UserError: Naming the option and what it may be.
        """
        for name in ("rank", "epochs", "batch_size", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{_option(name)} {value}: give a whole number from 1")
        for name in ("alpha", "learning_rate"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UserError(f"{_option(name)} {value}: give a number above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout}: give a share from 0 to below 1")


class Tuned(NamedTuple):
    """A fine-tuned model.

    Attributes:
        folder: In hub layout, ready for `pas.models.load_model`.
        n_items: Items that it was trained on.
        losses: Mean cross-entropy of a target token at every step, in nats.
        seconds: Loading, training, merging and saving.
    """

    folder: Path
    n_items: int
    losses: tuple[float, ...]
    seconds: float


class Target(NamedTuple):
    """What an item teaches.

    Attributes:
        token_ids: The prompt and the right answer.
        labels: As long; the answer's tokens, and `IGNORED` at the prompt's.
    """

    token_ids: tuple[int, ...]
    labels: tuple[int, ...]


def require_libraries() -> None:
    """Refuse to begin without what only fine-tuning needs.

    Raises:
        UserError: Naming the command that installs it.
    """
    if find_spec("peft") is None or find_spec("trl") is None:
        raise UserError("fine-tuning needs peft and trl: pip install 'painless-steering[sft]'")


def target(tokens: LoadedTokenizer, example: Example, rule: ScoringRule) -> Target:
    """Return the tokens that scoring reads for the right answer, behind their prompt.

    Letter scoring: the prompt and one letter, with its space where the rule reads that. Choice
    scoring: question + " " + text, the answer beginning where `pas.score.prepare` lets it begin.

    Raises:
        UserError: If the text exceeds the context window or a letter has no token of its own.
    """
    prompt = full_prompt(example, rule.kind)
    asked = prepare(tokens, prompt, example.choices, example.label, rule)
    if asked.letters:
        fed, answer = asked.tails[0].token_ids, asked.letters[example.label][-1:]
        window = tokens.context_window
        if window is not None and len(fed) == window:
            raise UserError(
                f"a prompt of {len(fed)} tokens leaves no room for its letter in the context "
                f"window: it starts {prompt[:60]!r}. Shorten or remove it."
            )
        whole = (*fed, *answer)
    else:
        tail = asked.tails[example.label]
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
) -> Tuned:
    """Fine-tune a model of our own loading and save it; models that others hold stay as they are.

    Adapters are float32. The weights that they change are float32 too, on a GPU bfloat16 where the
    checkpoint is; there passes run in bfloat16 if it can. The merge is computed in float32 and
    saved in the checkpoint's own dtype, so that base and result are run alike. On a CPU the same
    seed gives the same weights.

    Args:
        spec: The base; its dtype is not that of training.
        cache_dir: As for `pas.models.load_model`.
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
    tokens = load_tokenizer(spec, cache_dir)
    targets = [target(tokens, example, rule) for example in examples]
    stored = _stored_dtype(spec, model_folder(spec, cache_dir))
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype = "bfloat16" if half and stored == torch.bfloat16 else "float32"
    model = load_model(replace(spec, dtype=dtype), cache_dir)
    base = copy.deepcopy((model.model.config, model.model.generation_config))
    with _randomness_restored():
        adapted, losses = _train(model, targets, settings, seed, half)
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
        tokens.tokenizer.save_pretrained(made)
        tuned = Tuned(folder, len(examples), losses, time.monotonic() - begun)
        how = {"base": spec.as_dict(), "rule": rule.name, "seed": seed, **asdict(settings)}
        told = {"n_items": tuned.n_items, "losses": losses, "seconds": tuned.seconds}
        (made / _RECORD).write_text(json.dumps(how | told, indent=2) + "\n")
        try:
            made.rename(folder)
        except OSError:
            if not is_tuned(folder):
                raise
    return tuned


def is_tuned(folder: Path) -> bool:
    """Whether the folder holds a finished model of `finetune`."""
    return (folder / _RECORD).is_file()


def read_tuned(folder: Path) -> Tuned:
    """Return what `finetune` returned for this folder."""
    told = json.loads((folder / _RECORD).read_text())
    return Tuned(folder, told["n_items"], tuple(told["losses"]), told["seconds"])


def passes_of(batch_size: int, longest: int, limit: int) -> int:
    """Return the fewest passes that cut a step evenly and hold at most `limit` tokens each.

    Args:
        batch_size: Items of the step.
        longest: Length of the longest target in tokens, to which all may be padded.
        limit: Tokens; an item that is longer has a pass of its own.
    """
    even = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
    return next((n for n in even if batch_size // n * longest <= limit), batch_size)


def _train(
    model: LoadedModel, targets: Sequence[Target], settings: FineTuning, seed: int, half: bool
) -> tuple[Any, tuple[float, ...]]:
    """Train adapters on the targets; return the model that holds them and the losses."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    rows = [{"input_ids": list(t.token_ids), "labels": list(t.labels)} for t in targets]
    longest = max(len(t.token_ids) for t in targets)
    limit = _PASS_TOKENS.get(model.device.type, _PASS_TOKENS_ELSEWHERE)
    passes = passes_of(settings.batch_size, longest, limit)
    watch, on_cpu = _Watch(), model.device.type == "cpu"
    with tempfile.TemporaryDirectory() as unused, warnings.catch_warnings():
        # trl's own defaults have names that transformers is about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft sets it right by itself
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
    """Keeps the losses and shows people how far the training is."""

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
def _randomness_restored() -> Iterator[None]:
    """The trainer seeds every generator of the process; others get theirs back as it was."""
    plain, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)


def _stored_dtype(spec: ModelSpec, folder: Path) -> torch.dtype:
    options = {"trust_remote_code": spec.trust_remote_code}
    dtype = AutoConfig.from_pretrained(folder, **options).get_text_config().dtype
    return getattr(torch, str(dtype or "float32").removeprefix("torch."))  # type: ignore[no-any-return]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
