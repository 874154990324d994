"""The weights of a model, to compare."""

from pathlib import Path

import torch

from pas.models.loading import load_model
from pas.models.spec import ModelSpec


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(ModelSpec(str(folder), device="cpu"), folder.parent).model.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(first[k].equal(second[k]) for k in first)
