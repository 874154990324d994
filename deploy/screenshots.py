"""Pictures of what an operator sees, for the documentation; needs Chromium.

`python -m deploy.screenshots docs/images NAME` takes the status page, and the pages of Prefect and
MLflow that show the vector NAME, from the servers that `PREFECT_API_URL` and `MLFLOW_TRACKING_URI`
name. Without a name it takes the status page of the home that `PAS_HOME` names. With
`--served 'http://127.0.0.1:8000/#vector=NAME&prompt=...&go'` it takes the page of a running `pas
serve`, and nothing else.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer
from PIL import Image

from deploy.browser import QUIET, find_browser, open_page
from storage.registry.links import run_page, version_page
from storage.registry.versions import resolve
from storage.settings import settings

WIDTH, HEIGHT = 1280, 720
_PATIENCE = 120  # seconds
_DRAWING = 20_000  # milliseconds of the page's own clock, for pages that ask their server


def take(address: str, picture: Path, *, dark: bool = False, height: int = HEIGHT) -> None:
    """Take a picture of a page, `WIDTH` pixels wide.

    Args:
        address: URL, also of a file.
        picture: PNG to write.
        dark: Ask the page for its dark colours.
        height: In pixels.

    Raises:
        FileNotFoundError: If there is no browser.
        subprocess.CalledProcessError: If it fails.
    """
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                find_browser(),
                *QUIET,
                f"--user-data-dir={profile}",
                f"--screenshot={picture.resolve()}",
                f"--window-size={WIDTH},{height}",
                f"--virtual-time-budget={_DRAWING}",
                *(["--blink-settings=preferredColorScheme=0"] if dark else []),
                address,
            ],
            check=True,
            capture_output=True,
            timeout=_PATIENCE,
        )
    with Image.open(picture) as taken:
        small = taken.quantize(64)
    small.save(picture, optimize=True)  # a third of the size, and nobody sees it


def pages(name: str) -> Iterator[tuple[str, str, int]]:
    """Yield a vector's pages on the servers: name of the picture, address, height in pixels.

    Args:
        name: A vector with a champion.
    """
    api = os.environ["PREFECT_API_URL"]
    prefect = api.removesuffix("/api")
    yield "prefect-runs", f"{prefect}/runs", 1000
    for flow in ("train", "promote"):
        # Below that is the log, which begins with where the worker stands.
        yield f"prefect-{flow}", f"{prefect}/runs/flow-run/{_last(api, flow)}", 560
    registry = settings().open_registry()
    champion = resolve(registry, f"{name}@champion")
    yield "mlflow-version", str(version_page(registry, name, champion.version)), 1000
    run = str(run_page(registry, champion.run_id))
    yield "mlflow-run", run.removesuffix("/artifacts"), 1000


def _last(api: str, flow: str) -> str:
    """Return the id of the newest completed run of a flow."""
    criteria = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "START_TIME_DESC",
    }
    answer = httpx.post(f"{api}/flow_runs/filter", json=criteria, timeout=60)
    return str(answer.raise_for_status().json()[0]["id"])


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the pictures.")],
    name: Annotated[str | None, typer.Argument(help="A vector with a champion.")] = None,
    served: Annotated[str | None, typer.Option(help="Address at a running pas serve.")] = None,
) -> None:
    """Take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    if served is not None:
        with open_page() as opened:
            opened.go(served)
            opened.wait("document.body.dataset.done == 1")
            for picture, width, height, dark in (
                ("serve", 1100, 580, False),
                ("serve-dark", 420, 1000, True),
            ):
                opened.resize(width, height, dark=dark)
                opened.take(folder / f"{picture}.png")
        return
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "status.html"
        command = [sys.executable, "-m", "flows.cli", "status", "--html", str(page)]
        subprocess.run(command, check=True)
        take(page.as_uri(), folder / "status.png")
        take(page.as_uri(), folder / "status-dark.png", dark=True)
    for picture, address, height in pages(name) if name else ():
        take(address, folder / f"{picture}.png", height=height)


if __name__ == "__main__":
    typer.run(main)
