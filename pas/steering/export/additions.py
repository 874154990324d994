"""What an export hands over: numbers that are added to hidden states, each in its place."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pas.errors import UserError
from pas.models.spec import Site
from pas.steering.intervention import Composition, Intervention, interventions_of
from pas.steering.positions import GENERATED
from pas.steering.vector import SteeringVector

Numbers = np.ndarray[Any, np.dtype[np.float32]]
Steering = SteeringVector | Intervention | Composition | Sequence[Intervention]


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


def exportable(steering: Steering, strength: float | None) -> Composition:
    """Return what is exported.

    Args:
        steering: A vector, which is added with its own strength, or interventions.
        strength: In place of a single vector's strength; of several, a factor on each one's.

    Raises:
        UserError: If nothing would be added, rows of a batch have strengths of their own, or only
            a part of the positions is steered.
    """
    composition = interventions_of(steering)
    if strength is not None:
        if isinstance(steering, SteeringVector):
            composition = interventions_of(Intervention(steering, strength))
        else:
            composition = composition.scaled(strength)
    for one in composition:
        if isinstance(one.strength, tuple):
            raise UserError("strengths of single rows cannot be exported: give one strength")
        if not one.strength:
            raise UserError("strength 0: nothing would be added; give --strength another number")
        if one.positions not in (GENERATED, "all"):
            raise UserError(
                f"positions {one.positions!r}: the programs that vectors are exported to steer "
                'every position; export with positions "all"'
            )
    return composition


def additions_of(composition: Composition, consumer: str) -> list[Addition]:
    """Return one addition for each place, in order of layer and site.

    Where several vectors are added in one place, the result is their sum with strength 1. One alone
    keeps its direction and its strength.

    Raises:
        UserError: If something else than adding is asked for.
    """
    places: dict[tuple[int, Site], list[Addition]] = {}
    for one in composition:
        if one.operation != "add":
            raise UserError(f"{consumer} cannot {one.operation}, it can only add")
        vector, [strength] = one.vector, one.strengths
        found = Addition(vector.layer, vector.site, vector.direction, strength)
        places.setdefault((found.layer, found.site), []).append(found)
    return [
        found[0]
        if len(found) == 1
        else Addition(layer, site, np.sum([a.delta for a in found], axis=0, dtype=np.float32), 1.0)
        for (layer, site), found in sorted(places.items())
    ]


def residual_additions_of(composition: Composition, consumer: str) -> list[Addition]:
    """Return one addition for each layer.

    Raises:
        UserError: If something else than adding is asked for, or another site than the residual
            stream.
    """
    additions = additions_of(composition, consumer)
    for addition in additions:
        if addition.site != "residual":
            raise UserError(
                f"{consumer} adds to the output of a block (site residual), and this vector is for "
                f"site {addition.site}: export it to lm-eval, or train one for the residual stream"
            )
    return additions
