"""What steering does to a hidden state: four operations with one direction.

docs/method.md, "What a vector can do". In each, `v` is the direction, `u = v / |v|`, `s` the
strength and `h` the hidden state. Strength 0 leaves the hidden state as it is, whatever the
operation.

- `add`: `h + s v`, the operation of the paper.
- `add-keep-norm`: `h + s v`, scaled back to the norm of `h`.
- `ablate`: `h - s (h·u) u`. Strength 1 removes the direction from the hidden state.
- `clamp`: `h + (s |v| - h·u) u`: the component along the direction becomes `s |v|`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch

Operation = Literal["add", "add-keep-norm", "ablate", "clamp"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Change(NamedTuple):
    """One direction with the strength of each row, on the device of the hidden states.

    Attributes:
        direction: [d_model] float32.
        strengths: [batch] or [1] float32; one strength holds for all rows.
    """

    direction: torch.Tensor
    strengths: torch.Tensor

    @property
    def deltas(self) -> torch.Tensor:
        """Strength times direction, [batch or 1, 1, d_model] float32."""
        return (self.strengths[:, None] * self.direction)[:, None]

    @property
    def unit(self) -> torch.Tensor:
        """The direction with norm 1, [d_model] float32; of a zero direction it is zero."""
        norm = self.direction.norm()
        return self.direction / norm if norm > 0 else self.direction

    @property
    def is_on(self) -> torch.Tensor:
        """Whether a row is steered, [batch or 1, 1, 1] bool."""
        return (self.strengths != 0)[:, None, None]


def edit_of(
    operation: Operation, change: Change, dtype: torch.dtype
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that steers hidden states [batch, positions, d_model] of a dtype.

    What does not depend on the hidden states is computed here, once.
    """
    if operation == "add":
        deltas = change.deltas.to(dtype)
        return lambda hidden: hidden + deltas

    # Products and norms are computed in float32, because half precision overflows in them.
    deltas, unit, is_on = change.deltas, change.unit, change.is_on
    strengths, length = change.strengths[:, None, None], change.direction.norm()

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        state = hidden.float()
        if operation == "add-keep-norm":
            moved = state + deltas
            norm = moved.norm(dim=-1, keepdim=True)
            steered = torch.where(
                norm > 0, moved * (state.norm(dim=-1, keepdim=True) / norm), moved
            )
        else:
            along = (state * unit).sum(dim=-1, keepdim=True)
            move = -strengths * along if operation == "ablate" else strengths * length - along
            steered = state + move * unit
        return torch.where(is_on, steered.to(dtype), hidden)

    return edit
