"""Agreement of letters in half precision, and the margins of letters that differ."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu_model import CHOICES, EngineInputs, loaded
from pas.engine.prefix import Steering
from pas.engine.sweep import score_rows
from pas.models.loading import LoadedModel

BF16_STEP = 2.0**-8  # half of what separates neighbouring numbers, relative, at its largest


def agreement(
    model: LoadedModel, drawn: EngineInputs, rows: Sequence[Steering], exact: bool
) -> dict[str, Any]:
    """Compare the engine's letters with one hooked pass per configuration, both with float32."""

    def scores(of: LoadedModel, engine: str) -> torch.Tensor:
        return torch.stack(score_rows(of, drawn.questions, rows, engine=engine))

    ours, hooked = scores(model, "prefix"), scores(model, "hooks")
    lines = [{"pair": "engine, hooks", **_compared(ours, hooked)}]
    found = {
        "finite": bool(ours.isfinite().all()),
        "letters": ours.argmax(-1).flatten().bincount(minlength=CHOICES).tolist(),
    }
    if exact:
        copied = loaded(copy.deepcopy(model.model).float(), model.spec.id)
        truth = scores(copied, "prefix")
        lines.append({"pair": "engine, float32", **_compared(ours, truth)})
        lines.append({"pair": "hooks, float32", **_compared(hooked, truth)})
        unequal = ours.argmax(-1) != hooked.argmax(-1)
        found["largest float32 gap of the unequal"] = _most(_gap(truth)[unequal])
    return {"table": lines, **found}


def _gap(scores: torch.Tensor) -> torch.Tensor:
    top = scores.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


def _most(values: torch.Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _compared(ours: torch.Tensor, theirs: torch.Tensor) -> dict[str, Any]:
    unequal = ours.argmax(-1) != theirs.argmax(-1)
    gap, size = torch.minimum(_gap(ours), _gap(theirs)), theirs.topk(2).values.abs().amax(-1)
    near, error = gap <= BF16_STEP * size, (ours - theirs).abs()
    return {
        "cells": unequal.numel(),
        "near ties": int(near.sum()),
        "unequal": int(unequal.sum()),
        "of them near ties": int((unequal & near).sum()),
        "their largest gap": _most(gap[unequal]),
        "the same, relative": _most((gap / size)[unequal]),
        "median gap": float(_gap(theirs).median()),
        "median error": float(error.median()),
        "largest error": _most(error),
    }
