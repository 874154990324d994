"""The vector that an argument names: one of the registry, or a folder or file."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pas.steering.intervention import Composition
    from pas.steering.vector import SteeringVector
    from storage.registry.versions import VectorVersion


class Named(NamedTuple):
    """What a reference stands for.

    Attributes:
        steering: The vector or composition.
        version: Its version; None for a folder or file.
    """

    steering: "SteeringVector | Composition"
    version: "VectorVersion | None"


def named(reference: str) -> Named:
    """Load a vector or a composition, and prepare the process for using it.

    Args:
        reference: NAME, NAME@alias, NAME:version, or the path of a vector or composition.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    from flows.cli.session import begin, check_stores

    path = Path(reference).expanduser()
    if path.exists():
        begin(with_server=False)
        from pas.steering.intervention import load_steering

        return Named(load_steering(path), None)
    check_stores()
    begin(with_server=False)
    from storage.registry.versions import load_vector, resolve
    from tasks import resources

    version = resolve(resources.registry(), reference)
    return Named(load_vector(resources.registry(), version), version)
