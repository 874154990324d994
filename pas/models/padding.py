"""Sequences of different lengths as one batch, padded on one side."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pas.models.loading import LoadedModel


class Batch(NamedTuple):
    """Token ids of several sequences, padded to one length.

    Attributes:
        input_ids: [batch, length] int64.
        mask: [batch, length] int64, 1 where a token is real.
        position_ids: [batch, length] int64, counted over the real tokens.
        last: [batch] int64, index of each sequence's last real token.
    """

    input_ids: torch.Tensor
    mask: torch.Tensor
    position_ids: torch.Tensor
    last: torch.Tensor

    def inputs(self) -> dict[str, torch.Tensor | bool]:
        """Return the keyword arguments of a forward pass."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.mask,
            "position_ids": self.position_ids,
            "use_cache": False,
        }


def pad(sequences: Sequence[Sequence[int]], model: LoadedModel, side: str = "left") -> Batch:
    """Pad token ids on one side.

    Args:
        sequences: Token ids of each sequence.
        model: The model; its device and padding id are used.
        side: "left" or "right".
    """
    length = max(map(len, sequences))
    ids = torch.full((len(sequences), length), model.pad_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(sequences):
        where = slice(length - len(tokens), length) if side == "left" else slice(len(tokens))
        ids[row, where] = torch.tensor(tokens)
        mask[row, where] = 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    last = (mask * torch.arange(length)).argmax(dim=1)
    return Batch(*(t.to(model.device) for t in (ids, mask, positions, last)))
