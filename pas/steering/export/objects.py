"""Vectors as the objects of the Python packages steering-vectors and repeng.

Both packages are imported by the function that makes their object, and need not be there otherwise.
"""

from typing import Any

from pas.steering.export.activations import fields_of
from pas.steering.export.additions import Steering, exportable, residual_additions_of


def to_steering_vectors(steering: Steering, strength: float | None = None) -> Any:
    """Return a `steering_vectors.SteeringVector`; a multiplier of 1 is the vector's own strength.

    Args:
        steering: A vector or interventions at one site.
        strength: As for `pas.steering.export.formats.export`.

    Raises:
        UserError: If the package cannot do what is asked for.
    """
    from steering_vectors import SteeringVector

    return SteeringVector(**fields_of(exportable(steering, strength)))


def to_repeng(steering: Steering, model_type: str, strength: float | None = None) -> Any:
    """Return a `repeng.ControlVector`; a coefficient of 1 is the vector's own strength.

    Args:
        steering: A vector or interventions in the residual stream.
        model_type: transformers' name of the model's type, such as "llama".
        strength: As for `pas.steering.export.formats.export`.

    Raises:
        UserError: If the package cannot do what is asked for.
    """
    from repeng import ControlVector

    additions = residual_additions_of(exportable(steering, strength), "repeng")
    return ControlVector(model_type=model_type, directions={a.layer: a.delta for a in additions})
