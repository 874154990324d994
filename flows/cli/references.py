"""The vector that an argument names: one of the registry, or a folder or file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from pas.steering.intervention import Composition
    from pas.steering.vector import SteeringVector
    from storage.registry.versions import VectorVersion


Reference = Annotated[
    str,
    typer.Argument(
        help="NAME, NAME@alias, NAME:version, or the folder of a vector or composition."
    ),
]


class Named(NamedTuple):
    """What a reference stands for.

    Attributes:
        steering: The vector or composition.
        version: Its version; None for a folder or file.
        path: The folder or file; None for a version.
    """

    steering: "SteeringVector | Composition"
    version: "VectorVersion | None"
    path: Path | None


def named(reference: str) -> Named:
    """Load a vector or a composition, and prepare the process for using it.

    Args:
        reference: NAME, NAME@alias, NAME:version, or the path of a vector or composition.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    from flows.cli.session import begin, check_registry
    from pas.files import existing

    path = existing(reference)
    if path is not None:
        begin(with_server=False)
        from pas.steering.intervention import load_steering

        return Named(load_steering(path), None, path)
    check_registry()
    begin(with_server=False)
    from storage.registry.versions import load_vector, resolve
    from tasks import resources

    version = resolve(resources.registry(), reference)
    return Named(load_vector(resources.registry(), version), version, None)


def strength_of(given: str | None, found: Named) -> float:
    """Return the strength that an option asks for: a number, auto, or the vector's own.

    Args:
        given: The option.
        found: The vector. The own strength of a composition is a factor of 1.

    Raises:
        UserError: If it is no number, or the vector was never calibrated.
    """
    from pas.errors import UserError
    from pas.steering.vector import SteeringVector

    steering = found.steering
    if given is None:
        return steering.strength if isinstance(steering, SteeringVector) else 1.0
    if given != "auto":
        try:
            return float(given)
        except ValueError:
            raise UserError(f"--strength {given}: give a number, or auto") from None
    if not isinstance(steering, SteeringVector):
        raise UserError("--strength auto: a composition is not calibrated; give a number")
    if found.path is not None:
        from pas.evidence.calibration import read_calibration

        return read_calibration(found.path, steering)
    from storage.registry.calibrations import auto_strength

    assert found.version is not None
    return auto_strength(found.version, steering)
