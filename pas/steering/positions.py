"""Which positions of a sequence are steered.

docs/method.md, "Where a vector is read and written". A sequence is a prompt and the tokens that are
generated after it. `start` is the column of the last prompt token, whose next token is the first
one that steering can choose.
"""

import re
from typing import NamedTuple

import torch

from pas.errors import UserError

GENERATED = "generated"


class Positions(NamedTuple):
    """A range of positions, counted from the last prompt token, which is 0.

    Attributes:
        first: First position that is steered; None for the start of the sequence.
        stop: First one that is not steered any more; None for no end.
    """

    first: int | None
    stop: int | None

    @property
    def needs_start(self) -> bool:
        """Whether the range depends on where the prompt ends."""
        return self != Positions(None, None)

    def columns(
        self, past: int, count: int, start: int | torch.Tensor | None
    ) -> slice | torch.Tensor | None:
        """Return what is steered of the columns that a forward call runs.

        Args:
            past: Columns that the cache holds.
            count: Columns of this call.
            start: Column of the last prompt token, one for all rows or [batch] int64. Not needed
                for all positions.

        Returns:
            A slice of the call's columns; a mask [batch, count] bool where rows differ; None for
            nothing.
        """
        if isinstance(start, torch.Tensor):
            column = torch.arange(past, past + count, device=start.device)
            mask = torch.ones(len(start), count, dtype=torch.bool, device=start.device)
            if self.first is not None:
                mask &= column >= start[:, None] + self.first
            if self.stop is not None:
                mask &= column < start[:, None] + self.stop
            return mask
        first, stop = 0, count
        if self.first is not None:
            assert start is not None
            first = max(0, start + self.first - past)
        if self.stop is not None:
            assert start is not None
            stop = min(count, start + self.stop - past)
        return slice(first, stop) if first < stop else None


_RULES = {
    GENERATED: Positions(0, None),
    "all": Positions(None, None),
    "prompt": Positions(None, 1),
}


def read_positions(rule: str) -> Positions:
    """Return the range that a rule names.

    Args:
        rule: "generated": the last prompt token and every generated one, as in the paper. "all":
            every position. "prompt": every position of the prompt and none after it. "first:N": the
            first N of those of "generated", so that N tokens are chosen under steering.

    Raises:
        UserError: If it is none of these.
    """
    if rule in _RULES:
        return _RULES[rule]
    if number := re.fullmatch(r"first:([1-9][0-9]{0,8})", rule):
        return Positions(0, int(number[1]))
    raise UserError(f"positions {rule!r}: give {', '.join(_RULES)}, or first:N such as first:20")
