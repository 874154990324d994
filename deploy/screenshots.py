"""Pictures of an installation's pages as an operator sees them, for the documentation.

`python -m deploy.screenshots NAME` needs Chromium, and in the installation a champion of that name.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import typer
from PIL import Image

from deploy.team import Folder, Team, TeamError, open_team
from storage.registry.links import run_page, version_page
from storage.registry.versions import resolve
from storage.settings import Registry

# Nothing is asked of the network: the pages are on this machine.
_OFFLINE = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-sandbox",  # root has none
    "--hide-scrollbars",
)


def pages(team: Team, name: str) -> Mapping[str, str]:
    """Return the addresses of the pages by the names of their pictures.

    Args:
        team: The installation, which must run.
        name: A vector with a champion.
    """
    registry = Registry(team.address("mlflow"))
    champion = resolve(registry, f"{name}@champion")
    found = {"prefect-runs": f"{team.address('prefect')}/runs"}
    found |= {
        f"prefect-{flow}": f"{team.address('prefect')}/runs/flow-run/{_last(team, flow)}"
        for flow in ("train", "promote")
    }
    found["mlflow-version"] = str(version_page(registry, name, champion.version))
    found["mlflow-run"] = str(run_page(registry, champion.run_id)).removesuffix("/artifacts")
    return found


def take(address: str, file: Path, size: tuple[int, int] = (1280, 1000)) -> None:
    """Write a picture of a page as PNG.

    Raises:
        TeamError: If Chromium is not installed or fails.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise TeamError("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                chromium, *_OFFLINE, f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}",
                "--virtual-time-budget=20000",  # milliseconds: the pages ask their servers first
                f"--screenshot={file}", address,
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    if not file.exists():
        raise TeamError(f"{address}: no picture was made ({done.stderr[-200:]})")
    with Image.open(file) as picture:
        small = picture.quantize(64)
    small.save(file, optimize=True)  # a third of the size, and nobody sees it


def _last(team: Team, flow: str) -> str:
    criteria = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "START_TIME_DESC",
    }
    address = f"{team.environment['PREFECT_API_URL']}/flow_runs/filter"
    runs = httpx.post(address, json=criteria, timeout=60).raise_for_status().json()
    if not runs:
        raise TeamError(f"there is no completed run of {flow}")
    return str(runs[0]["id"])


def main(
    name: Annotated[str, typer.Argument(help="A vector with a champion.")],
    folder: Folder = Path(".team"),
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("docs/pictures"),
) -> None:
    """Take the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    for title, address in pages(open_team(folder.resolve()), name).items():
        take(address, out / f"{title}.png")
        typer.echo(f"{title}: {address}")


if __name__ == "__main__":
    typer.run(main)
