"""A page in headless Chromium, over its debugging protocol: fill it in, wait, take its picture."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The pages are on this machine: the browser asks the network for nothing.
QUIET = (
    *("--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-quic",
)
_PATIENCE = 60.0  # seconds


def find_browser() -> str:
    """Return the browser's path.

    Raises:
        FileNotFoundError: If there is none.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"no browser: install one of {', '.join(BROWSERS)}")
    return browser


class Page:
    """An open page."""

    def __init__(self, connection: Connection) -> None:
        """Take over a page that is open.

        Args:
            connection: To the page's debugging address.
        """
        self._connection, self._number = connection, 0
        self.problems: list[str] = []  # what the page's scripts raised, or the console was told
        self._ask("Runtime.enable")
        self._ask("Log.enable")
        self._ask("Page.enable")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(asked))
        while True:
            told = json.loads(self._connection.recv(timeout=_PATIENCE))
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']['message']}")
                return dict(told["result"])
            if told.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(told["params"]["exceptionDetails"]))
            if told.get("method") == "Log.entryAdded":
                self.problems.append(told["params"]["entry"]["text"])

    def go(self, address: str) -> None:
        """Open an address, and wait until the page is there."""
        self._ask("Page.navigate", url="about:blank")  # another part after # alone loads nothing
        self._ask("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true.

        Raises:
            TimeoutError: If it does not become true within a minute.
        """
        until = time.monotonic() + _PATIENCE
        while not self.evaluate(condition):
            if time.monotonic() > until:
                raise TimeoutError(f"not in {_PATIENCE:g} s: {condition}")
            time.sleep(0.05)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the page a size in pixels, and ask for its dark or light colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def take(self, picture: Path) -> None:
        """Write a PNG of what is seen."""
        picture.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))


@contextmanager
def open_page() -> Iterator[Page]:
    """Start a browser with an empty page, and end it after the context.

    Raises:
        FileNotFoundError: If there is no browser.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                find_browser(),
                *QUIET,
                f"--user-data-dir={profile}",
                "--remote-debugging-port=0",
                "about:blank",
            ],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            port = Path(profile) / "DevToolsActivePort"
            until = time.monotonic() + _PATIENCE
            while not (port.exists() and port.read_text().count("\n")):
                if time.monotonic() > until or process.poll() is not None:
                    raise TimeoutError("the browser did not start")
                time.sleep(0.05)
            with connect(_page_of(int(port.read_text().splitlines()[0])), max_size=None) as opened:
                yield Page(opened)
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _page_of(port: int) -> str:
    targets = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
    return str(next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page"))
