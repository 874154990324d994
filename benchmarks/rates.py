"""How fast a device is, for `benchmarks.planning`."""

import json
from pathlib import Path
from typing import NamedTuple

from pas.errors import UserError
from pas.study.plan import Study

_MEASURED = ("extraction", "sweep")


class Rates(NamedTuple):
    """TFLOP/s that a device achieves.

    Attributes:
        whole: Rate for tokens through the whole model.
        steered: Rate for steered rows, each through the blocks above its layer.
        source: Source of the rates.
    """

    whole: float
    steered: float
    source: str


def rates_of(study: Study, given: float | None = None, measured: Path | None = None) -> Rates:
    """Return the rates of the device.

    Args:
        study: Its `planning` states a rate, used where nothing else is given.
        given: One rate for everything, TFLOP/s.
        measured: What `python -m benchmarks.gpu --out` wrote: its best extraction and sweep.

    Raises:
        UserError: If there are none, or they are no rates.
    """
    if measured is not None:
        return _measured(measured)
    found = given if given is not None else study.planning.get("tflops")
    if not isinstance(found, int | float) or not found > 0:
        raise UserError(
            "an estimate needs the TFLOP/s that your device achieves: measure it by `python -m "
            "benchmarks.gpu --out gpu.json` and give --rates gpu.json, or give --tflops, or "
            "planning: tflops in the study file"
        )
    source = "given" if given is not None else str(study.planning.get("rate", "given"))
    return Rates(float(found), float(found), source)


def _measured(file: Path) -> Rates:
    try:
        document = json.loads(file.read_text())
        best = [max(float(line["TFLOP/s"]) for line in document[part]) for part in _MEASURED]
        facts = document["facts"]
        source = f"measured on {facts['device']}, {facts['dtype']}, by benchmarks.gpu"
    except OSError as error:
        raise UserError(f"--rates {file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--rates {file}: no finished measurement of extraction and sweep; write it by "
            "`python -m benchmarks.gpu --out gpu.json`"
        ) from error
    if not all(0 < value < float("inf") for value in best):
        raise UserError(f"--rates {file}: a rate is above 0, not {min(best)}")
    return Rates(best[0], best[1], source)
