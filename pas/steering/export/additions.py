"""What an export hands over: numbers that are added to hidden states, each in its place."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pas.errors import UserError
from pas.models.spec import Site
from pas.steering.vector import SteeringVector

Numbers = np.ndarray[Any, np.dtype[np.float32]]


class Addition(NamedTuple):
    """`strength * direction` is added to the output of a site.

    Attributes:
        layer: Decoder block, counted from 0.
        site: Where in the block.
        direction: [d_model] float32.
        strength: Factor on the direction.
    """

    layer: int
    site: Site
    direction: Numbers
    strength: float

    @property
    def delta(self) -> Numbers:
        """What is added, [d_model] float32."""
        return (self.strength * self.direction).astype(np.float32)


def additions_of(vector: SteeringVector, strength: float | None) -> list[Addition]:
    """Return what a vector adds.

    Args:
        vector: The vector.
        strength: Factor on its direction; its own if None.

    Raises:
        UserError: If the strength is 0 or not finite.
    """
    factor = vector.strength if strength is None else strength
    if not math.isfinite(factor) or factor == 0:
        raise UserError(
            f"strength {factor:g}: nothing would be added; give --strength and another number"
        )
    return [Addition(vector.layer, vector.site, vector.direction, factor)]


def merged(additions: Sequence[Addition]) -> list[Addition]:
    """Return one addition for each place, in order of layer and site.

    Where several are added in one place, the result is their sum with strength 1. One alone keeps
    its direction and its strength.
    """
    places: dict[tuple[int, Site], list[Addition]] = {}
    for addition in additions:
        places.setdefault((addition.layer, addition.site), []).append(addition)
    return [
        found[0]
        if len(found) == 1
        else Addition(layer, site, np.sum([a.delta for a in found], axis=0, dtype=np.float32), 1.0)
        for (layer, site), found in sorted(places.items())
    ]


def only_residual(additions: Sequence[Addition], consumer: str) -> list[Addition]:
    """Return one addition for each layer.

    Raises:
        UserError: If one of them is at another site than the residual stream.
    """
    for addition in additions:
        if addition.site != "residual":
            raise UserError(
                f"{consumer} adds to the output of a block (site residual), and this vector is for "
                f"site {addition.site}: export it to lm-eval, or train one for the residual stream"
            )
    return merged(additions)
