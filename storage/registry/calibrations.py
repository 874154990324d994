"""Calibrations of registered vectors: a tag of the version, and files among its run's artifacts."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pas.errors import UserError
from pas.evidence.calibration import CALIBRATION_FILE, Calibration, calibrated_strength
from pas.steering.vector import SteeringVector
from storage.registry.client import client
from storage.registry.versions import VectorVersion, tag_version
from storage.settings import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATION_TAG = "pas.calibration"
_KEPT = ("schema", "strength", "kl", "budget", "content")


def log_calibration(
    registry: Registry,
    version: VectorVersion,
    found: Calibration,
    asking: list[dict[str, Any]],
    figure: "Figure",
) -> None:
    """Store a calibration with its version; a later one takes its place.

    Args:
        registry: The store.
        version: The version that was calibrated.
        found: The calibration.
        asking: What asking for the behaviour does, see `pas.evidence.controls.Asking`.
        figure: The curve.
    """
    store = client(registry)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / CALIBRATION_FILE
        file.write_text(json.dumps(found.as_dict() | {"asking": asking}, indent=2) + "\n")
        store.log_artifact(version.run_id, str(file), "calibration")
    store.log_figure(version.run_id, figure, "calibration/calibration.png")
    document = found.as_dict()
    # Last: who reads the tag finds the rest.
    tag_version(
        registry, version, {CALIBRATION_TAG: json.dumps({name: document[name] for name in _KEPT})}
    )


def auto_strength(version: VectorVersion, vector: SteeringVector) -> float:
    """Return the strength that the calibration of a version chose.

    Raises:
        UserError: If it was never calibrated, or the calibration is of another vector.
    """
    reference = f"{version.name}:{version.version}"
    text = version.tags.get(CALIBRATION_TAG)
    if text is None:
        raise UserError(f"--strength auto: run pas calibrate {reference} first")
    try:
        document = json.loads(text)
    except ValueError:
        document = {}
    return calibrated_strength(document, vector, f"{reference}, tag {CALIBRATION_TAG}")
