"""What is measured after a training, on the page of its run: a calibration, judgements.

The page has a place for each, which stays empty until something is measured.
"""

import logging
import re
from collections.abc import Sequence
from typing import Literal

from pas.evidence.calibration import Calibration
from pas.evidence.controls import Asking
from storage.registry.judgements import read_judgements
from storage.registry.runs import rewrite_page
from storage.registry.versions import VectorVersion
from tasks import resources
from tasks.reports import figures
from tasks.reports.calibration_figure import calibration_figure
from tasks.reports.page import render, report_file

Part = Literal["calibration", "judgements"]
log = logging.getLogger("pas")


def show_calibration(
    version: VectorVersion, own: float, found: Calibration, asking: Sequence[Asking]
) -> None:
    """Put a calibration on the page of the run that trained a version, in place of an earlier one.

    Args:
        version: The version.
        own: Its own strength.
        found: The calibration.
        asking: What asking for the behaviour in words does on the test items.
    """
    picture = figures.as_svg(calibration_figure(found))
    _put(
        version,
        "calibration",
        render("calibration.html.j2", found=found, own=own, asking=asking, picture=picture),
    )


def show_judgements(version: VectorVersion) -> None:
    """Put all win rates of a version on the page of the run that trained it."""
    rows = read_judgements(resources.registry(), version)
    _put(version, "judgements", render("judgements.html.j2", rows=rows))


def _put(version: VectorVersion, part: Part, html: str) -> None:
    place = re.compile(f"(<!-- {part} -->).*?(<!-- end of {part} -->)", re.DOTALL)

    def change(page: str) -> str | None:
        text, found = place.subn(lambda m: f"{m[1]}\n{html}\n{m[2]}", page)
        return text if found else None

    file = report_file(version.run_id)
    text = rewrite_page(resources.registry(), version.run_id, file.name, change)
    if text is None:
        log.info("the page of run %s has no place for %s", version.run_id, part)
    elif file.exists():
        file.write_text(text, "utf-8")
