"""Pictures of what an operator sees, taken by Chromium: `python -m deploy.screenshots docs/images`.

The status page is that of the home that `PAS_HOME` names. Where `PREFECT_API_URL` and
`MLFLOW_TRACKING_URI` name servers, their pages are taken too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from storage.settings import settings

WIDTH, HEIGHT = 1280, 720
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60  # seconds
_DRAWING = 15_000  # milliseconds of the page's own clock, for pages that ask their server


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
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"no browser: install one of {', '.join(_BROWSERS)}")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                *(browser, "--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"),
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


def main() -> None:
    """Take them all."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "status.html"
    command = [sys.executable, "-m", "flows.cli", "status", "--html", str(page)]
    subprocess.run(command, check=True)
    take(page.resolve().as_uri(), folder / "status.png")
    take(page.resolve().as_uri(), folder / "status-dark.png", dark=True)
    page.unlink()
    prefect, mlflow = os.environ.get("PREFECT_API_URL"), settings().tracking_uri
    if prefect:
        take(f"{prefect.removesuffix('/api')}/runs", folder / "prefect.png", height=900)
    if mlflow and mlflow.startswith("http"):
        take(f"{mlflow}/#/models", folder / "mlflow.png", height=900)


if __name__ == "__main__":
    main()
