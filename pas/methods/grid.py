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
    """One cell of the sweep: `strength * direction(method, layer)` is added at `layer`."""

    method: str
    layer: int
    strength: float


class Directions(NamedTuple):
    """The directions of a training, by method and layer.

    Attributes:
        direction: [d_model] float32 for each method and layer.
        norm: L2 norm of each direction.
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
        """Return each configuration whose strength is not 0, and its delta [d_model] float32."""
        return [(c, self.delta(c)) for c in configurations if c.strength]


def not_finite_direction(method: str, layer: int) -> UserError:
    """Return the error for a direction with a number that is not finite in float32."""
    return UserError(
        f"the direction of method {method} at layer {layer} is not finite. If `pas cache verify` "
        "finds stored activations broken, remove them. Otherwise they differ by more than float32 "
        "holds: leave out the layer (--layers) or the method (--methods)."
    )


class Cell(NamedTuple):
    """The validation result of a configuration.

    Attributes:
        configuration: The configuration.
        n: Number of validation items.
        correct: Number of items answered correctly.
        effect: L2 norm of what the configuration adds.
        undecided: Number of items with a score that is not finite, which count as wrong. With one
            or more, the configuration is broken and cannot be selected.
    """

    configuration: Configuration
    n: int
    correct: int
    effect: float
    undecided: int = 0


def grid(directions: Directions, strengths: Sequence[float]) -> list[Configuration]:
    """Return every configuration of the sweep, by method, layer and strength."""
    return [
        Configuration(method, layer, strength)
        for method, layer in sorted(directions.direction)
        for strength in strengths
    ]


def read_layer(layer: int, protocol: Protocol) -> int:
    """Return the block whose output is read for a vector that is added at `layer`.

    The paper reads `hidden_states[L]`, which is the output of block L-1 (docs/method.md, "Flaws
    of the published protocol", flaw 2).
    """
    return layer - 1 if protocol == "paper" else layer


def layers_of(layers: Layers, n_layers: int) -> tuple[int, ...]:
    """Return the layers of the sweep, ascending.

    Args:
        layers: "all", "auto" (the paper's layers, scaled to the model's depth), or the layers.
        n_layers: Number of decoder blocks of the model.

    Raises:
        UserError: If the model does not have one of the layers.
    """
    if layers == "all":
        return tuple(range(n_layers))
    if layers == "auto":
        scaled = {min(n_layers - 1, round(L * n_layers / _PAPER_DEPTH)) for L in PAPER_LAYERS}
        return tuple(sorted(scaled))
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise UserError(
                f"--layers {','.join(map(str, layers))}: layer {layer} does not exist; the model "
                f"has layers 0 to {n_layers - 1}"
            )
    return tuple(sorted({*layers}))


def strengths_of(strengths: Strengths, protocol: Protocol) -> tuple[float, ...]:
    """Return the strengths of the sweep, ascending.

    Args:
        strengths: "auto" (the paper's strengths), or the strengths.
        protocol: `sound` adds strength 0.
    """
    chosen: Sequence[float] = PAPER_STRENGTHS if strengths == "auto" else strengths
    zero = (0.0,) if protocol == "sound" else ()
    return tuple(sorted({*zero, *chosen}))
