"""The two protocols, and the grid of configurations that a sweep covers.

docs/method.md, "Grids" and "Protocols".
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from pas.data.splits import Protocol
from pas.errors import UserError

PAPER_LAYERS = (8, 11, 13, 14, 15, 16, 17, 19, 22, 25)  # of 32 blocks
PAPER_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 4.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0, 25.0, 28.0, 32.0)
_PAPER_DEPTH = 32

Layers = Literal["auto", "all"] | tuple[int, ...]
Strengths = Literal["auto"] | tuple[float, ...]


class Configuration(NamedTuple):
    """One cell of the sweep: `strength * direction(method, layer)` added at `layer`."""

    method: str
    layer: int
    strength: float


class Directions(NamedTuple):
    """The directions of a training, by method and layer.

    Attributes:
        direction: [d_model] float32 each.
        norm: L2 norm of each.
    """

    direction: dict[tuple[str, int], np.ndarray]
    norm: dict[tuple[str, int], float]

    def delta(self, configuration: Configuration) -> np.ndarray:
        """Return what the configuration adds: [d_model] float32."""
        method, layer, strength = configuration
        return np.float32(strength) * self.direction[method, layer]

    def effect(self, configuration: Configuration) -> float:
        """Return the L2 norm of what the configuration adds."""
        method, layer, strength = configuration
        return abs(strength) * self.norm[method, layer]

    def deltas(
        self, configurations: Iterable[Configuration]
    ) -> list[tuple[Configuration, np.ndarray]]:
        """Return each configuration that steers with what it adds."""
        return [(at, self.delta(at)) for at in configurations if at.strength]


class Cell(NamedTuple):
    """A configuration, how it did on the validation split, and the norm of what it adds."""

    configuration: Configuration
    n: int
    correct: int
    effect: float


def grid(directions: Directions, strengths: Sequence[float]) -> list[Configuration]:
    """Return every configuration of the sweep, by method, layer and strength."""
    return [
        Configuration(method, layer, strength)
        for method, layer in sorted(directions.direction)
        for strength in strengths
    ]


def read_layer(layer: int, protocol: Protocol) -> int:
    """Return the block whose output is read for a vector written at `layer`.

    The paper reads `hidden_states[L]`, which is the output of block L-1 (docs/method.md, "Flaws
    of the published protocol", 2).
    """
    return layer - 1 if protocol == "paper" else layer


def layers_of(asked: Layers, n_layers: int) -> tuple[int, ...]:
    """Return the layers asked for, ascending; "auto" is the paper's, scaled to the model's depth.

    Raises:
        UserError: If the model lacks one of them.
    """
    if asked == "all":
        return tuple(range(n_layers))
    if asked == "auto":
        scaled = {min(n_layers - 1, round(at * n_layers / _PAPER_DEPTH)) for at in PAPER_LAYERS}
        return tuple(sorted(scaled))
    for layer in asked:
        if not 0 <= layer < n_layers:
            raise UserError(
                f"--layers {','.join(map(str, asked))}: layer {layer} does not exist, the model "
                f"has 0 to {n_layers - 1}"
            )
    return tuple(sorted({*asked}))


def strengths_of(asked: Strengths, protocol: Protocol) -> tuple[float, ...]:
    """Return the strengths asked for, ascending; `sound` adds 0. "auto" is the published grid."""
    chosen: Sequence[float] = PAPER_STRENGTHS if asked == "auto" else asked
    zero = (0.0,) if protocol == "sound" else ()
    return tuple(sorted({*zero, *chosen}))
