"""A checkpoint with the vector in it, as a bias: it steers wherever the model runs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pas.data.prompts import encode
from pas.errors import UserError
from pas.files import make_readable
from pas.models.files import stored_dtype
from pas.models.loading import LoadedModel, load_model
from pas.steering.export.additions import Addition, additions_of
from pas.steering.export.biases import BiasPlan, bias_of, plan_biases
from pas.steering.export.notes import Notes
from pas.steering.export.outline import ModelOutline
from pas.steering.intervention import Composition

# Largest error of the checkpoint's logits, as a share of what the vector does to them. A bias that
# is scaled or normalised on its way is off by about the whole effect.
_TOLERANCE = 0.05
_PROBE = "The weather in the mountains was fine, and so we walked to the old mill by the river."


class _Answers(NamedTuple):
    """Logits on the probe without and with the vectors, [1, tokens, vocabulary] float32."""

    unsteered: torch.Tensor
    steered: torch.Tensor


def write_checkpoint(out: Path, composition: Composition, outline: ModelOutline) -> Notes:
    """Write a folder in hub layout with the model, its tokenizer, and the vector as a bias.

    The model is loaded, then the checkpoint, and their logits are compared before the folder gets
    its name.

    Raises:
        UserError: If the folder is there already, the weights are quantised, or the architecture
            has no place for such a bias.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: it is there already; give a new folder")
    spec = outline.spec
    if spec.quantization or getattr(outline.config, "quantization_config", None):
        raise UserError(
            f"model {spec.id}: a bias cannot be written into quantised weights; give --model with "
            "weights that are not"
        )
    additions = additions_of(composition, "a checkpoint")
    plan = plan_biases(outline, additions)
    answers = _answers(load_model(spec, outline.cache_dir), composition)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / "made"
        _with_biases(outline, plan, additions).save_pretrained(made)
        outline.info.tokenizer.save_pretrained(made)
        written = replace(spec, id=str(made), revision=None)
        _check(outline, answers, load_model(written, Path(scratch)))
        make_readable(made)
        if out.is_dir():
            out.rmdir()
        made.rename(out)
    return Notes(
        consumer="transformers, and what reads its checkpoints",
        hook_point="the biases " + ", ".join(plan.names),
        layer_numbering="decoder blocks, counted from 0",
        strength="in the weights; it cannot be changed or switched off",
        use=f'AutoModelForCausalLM.from_pretrained("{out}")',
        differences=plan.remarks,
    )


def _with_biases(outline: ModelOutline, plan: BiasPlan, additions: list[Addition]) -> Any:
    """Return the model in the dtype of its files, with the biases.

    Raises:
        UserError: If the planned model has no place for one of the weights.
    """
    from transformers import AutoModelForCausalLM

    with _no_warnings():
        model, report = AutoModelForCausalLM.from_pretrained(
            outline.folder,
            config=plan.config,
            dtype=getattr(torch, stored_dtype(outline.folder)),
            output_loading_info=True,
            trust_remote_code=outline.spec.trust_remote_code,
        )
    if plan.config is not outline.config and report["unexpected_keys"]:
        raise UserError(
            f"model {outline.spec.id}: {plan.config.model_type} has no place for its weight "
            f"{min(report['unexpected_keys'])}. Export to another format."
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in report["missing_keys"] and name.endswith(".bias"):
                parameter.zero_()
        for addition in additions:
            bias = bias_of(model, addition)
            assert bias is not None  # as planned
            bias.add_(torch.from_numpy(addition.delta).to(bias.dtype))
    return model


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Within the context, transformers does not advise to train the biases that are new."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _answers(model: LoadedModel, composition: Composition) -> _Answers:
    everywhere = Composition(tuple(replace(one, positions="all") for one in composition))
    with everywhere.on(model):
        steered = _logits(model)
    return _Answers(_logits(model), steered)


@torch.no_grad()
def _logits(model: LoadedModel) -> torch.Tensor:
    ids = torch.tensor([encode(model.info, _PROBE).token_ids], device=model.device)
    logits: torch.Tensor = model.model(input_ids=ids, use_cache=False).logits
    return logits.float().cpu()


def _check(outline: ModelOutline, answers: _Answers, written: LoadedModel) -> None:
    """Compare the checkpoint's logits with the steered ones.

    Raises:
        UserError: If they are others.
    """
    found = _logits(written)
    effect = float((answers.steered - answers.unsteered).abs().max())
    error = float((answers.steered - found).abs().max())
    rounding = 8 * torch.finfo(written.model.dtype).eps * float(answers.steered.abs().max())
    if not error <= _TOLERANCE * effect + rounding:
        raise UserError(
            f"model {outline.spec.id}: a bias does not do what the vector does (it misses the "
            f"logits by {error:.3g}, the vector moves them by {effect:.3g}). "
            f"{outline.config.model_type} scales or normalises what its blocks add. Export to "
            "another format."
        )
