"""Whether MLflow's web interface has a page, by its own list of addresses and its server.

The interface runs in the browser, and its server answers every address after `#` with the same
file, so a wrong one shows only there. The list of addresses is in the interface's program.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import httpx
import mlflow


def check_page(address: str) -> None:
    """Fail unless the interface has such a page and the server has what the page is about."""
    place, page = address.split("#")
    parts = next((found for r in _routes() if (found := _match(r, page))), None)
    assert parts is not None, f"MLflow's interface has no page {page}"
    with httpx.Client(base_url=place, timeout=60) as server:
        assert "text/html" in server.get("/").raise_for_status().headers["content-type"]
        api = "/ajax-api/2.0/mlflow"
        if "runUuid" in parts:
            answer = server.get(f"{api}/runs/get", params={"run_id": parts["runUuid"]})
            run = answer.raise_for_status().json()["run"]
            assert run["info"]["experiment_id"] == parts["experimentId"]
            tab, _, file = parts["*"].partition("/")
            assert tab == "artifacts"
            asked = {"run_uuid": parts["runUuid"], "path": unquote(file)}
            artifact = server.get("/get-artifact", params=asked).raise_for_status()
            assert "<html" in artifact.text[:1000]
        else:
            asked = {"name": unquote(parts["modelName"]), "version": parts["version"]}
            server.get(f"{api}/model-versions/get", params=asked).raise_for_status()


@cache
def _routes() -> tuple[str, ...]:
    """Return the interface's addresses, such as `/experiments/:experimentId/runs/:runUuid/*`."""
    program = Path(mlflow.__file__).parent / "server/js/build/static/js"
    texts = [file.read_text() for file in program.glob("main.*.js")]
    routes = {route for text in texts for route in re.findall(r'"(/[\w-]+/:[\w/:*-]+)"', text)}
    assert routes, "MLflow's program keeps its addresses elsewhere now"
    # `/a/:b/*` takes `/a/:b/c/:d` too: the more words a route has, the better it fits.
    return tuple(sorted(routes, key=_words, reverse=True))


def _words(route: str) -> int:
    return len([part for part in route.split("/") if part and part[0] not in ":*"])


def _match(route: str, page: str) -> dict[str, str] | None:
    names = re.findall(r":(\w+)|(\*)", route)
    pattern = re.sub(r":\w+", "([^/]+)", route).replace("*", "(.+)")
    match = re.fullmatch(pattern, page)
    if match is None:
        return None
    return dict(zip((one or other for one, other in names), match.groups(), strict=True))
