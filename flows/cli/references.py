"""The vector that an argument names: one of the registry, or a folder or file."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pas.steering.intervention import Composition
    from pas.steering.vector import SteeringVector


def steering_of(reference: str) -> "SteeringVector | Composition":
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

        return load_steering(path)
    check_stores()
    begin(with_server=False)
    from storage.registry.versions import load_vector, resolve
    from tasks import resources

    return load_vector(resources.registry(), resolve(resources.registry(), reference))
