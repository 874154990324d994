"""Calibrate a registered vector on the items of its training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.asking import compare_with_asking, instructed, shown_examples
from pas.evidence.calibration import Calibration, calibrate
from pas.evidence.controls import Asking
from pas.steering.compatibility import require_fit
from storage.lake.stages import read_split
from storage.lake.verification import intact
from storage.registry.calibrations import log_calibration
from storage.registry.runs import read_lineage
from storage.registry.versions import VectorVersion, load_vector, resolve
from tasks import resources


class Calibrated(NamedTuple):
    """A version with its calibration.

    Attributes:
        version: The version.
        own: The vector's own strength.
        calibration: The curve and the chosen strength.
        asking: What asking for the behaviour in words does on the test items.
    """

    version: VectorVersion
    own: float
    calibration: Calibration
    asking: list[Asking]


def calibrate_version(
    reference: str, budget: float, instructions: Sequence[str], shots: int
) -> Calibrated:
    """Calibrate a version on its validation items, and compare it with asking on its test items.

    The result is stored with the version, for `--strength auto`.

    Args:
        reference: NAME, NAME@alias or NAME:version.
        budget: Largest damage, in nats per token.
        instructions: Texts that ask for the behaviour, each tried alone and with the vector.
        shots: Number of training items that are shown with their answers; 0 for none.

    Raises:
        UserError: If there is no such version, the lake has lost its items, or something does not
            fit.
    """
    registry, lake = resources.registry(), resources.lake()
    version = resolve(registry, reference)
    vector = load_vector(registry, version)
    address = read_lineage(registry, version.run_id)["stages"]["split"]
    if not intact(lake, address):
        raise UserError(
            f"{version.name}: the items that version {version.version} was trained on are not in "
            f"the lake {lake.name}. Set PAS_LAKE to the lake it was trained with, or train it "
            "again."
        )
    parts = read_split(lake, address)
    model = resources.model(vector.model)
    require_fit(vector, model)
    rule = ScoringRule(**vector.provenance["rule"], prompt=vector.prompt)
    ways = [instructed(parts.test, text) for text in instructions]
    if shots:
        if len(parts.train) < shots:
            raise UserError(f"--shots {shots}: there are {len(parts.train)} training items")
        ways.append(shown_examples(parts.test, parts.train[:shots], rule))
    found = calibrate(model, vector, parts.val, rule, budget=budget)
    asking = compare_with_asking(model, vector, parts.test, ways, rule=rule)
    # Matplotlib takes a while to import.
    from tasks.reports.calibration_figure import calibration_figure
    from tasks.reports.later import show_calibration

    rows = [as_row(one) for one in asking]
    log_calibration(registry, version, found, rows, calibration_figure(found))
    show_calibration(version, vector.strength, found, asking)
    return Calibrated(version, vector.strength, found, asking)


def as_row(asking: Asking) -> dict[str, Any]:
    """Return a comparison with asking, JSON-able."""
    return {
        "how": asking.how,
        "unsteered": asking.asked.baseline_accuracy,
        "asked": asking.asked.steered_accuracy,
        "asked_and_steered": asking.both.steered_accuracy,
        "p_steering_adds": asking.both.p_value,
        "n": asking.asked.n,
    }
