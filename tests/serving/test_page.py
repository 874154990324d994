"""The page in a real browser: both columns stream, and tokens are coloured by their projection."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from deploy.browser import BROWSERS, Page, open_page
from pas.models.loading import LoadedModel
from pas.steering.generate import generate
from pas.steering.intervention import interventions_of
from pas.steering.vector import SteeringVector
from serving.vectors import Vectors
from tests.helpers.running_server import chat_model, serving, vector_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="needs Chromium"),
]
PROMPT = "Where does the heron sleep? <b>&amp;"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    home = tmp_path_factory.mktemp("page")
    return chat_model(home)


@pytest.fixture(scope="module")
def vector(base: LoadedModel) -> SteeringVector:
    return vector_of(base)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


def text_of(page: Page, element: str) -> str:
    return str(page.evaluate(f"document.getElementById('{element}').textContent"))


def test_both_columns(
    base: LoadedModel, vector: SteeringVector, page: Page, tmp_path: Path
) -> None:
    with serving(base, Vectors(base, None, {"one": interventions_of(vector)})) as address:
        asked = {"prompt": PROMPT, "kind": "completions", "length": 12, "strength": 1.5, "go": 1}
        page.go(f"{address}/#{urlencode(asked, quote_via=quote)}")
        page.wait("document.body.dataset.done == 1")
        off, on = text_of(page, "off"), text_of(page, "on")
        assert text_of(page, "problem") == ""
        assert off == generate(base, PROMPT, None, max_new_tokens=12)
        assert on == generate(base, PROMPT, vector, strength=1.5, max_new_tokens=12) != off
        assert text_of(page, "on-about") == "one, strength 1.5"
        [reading] = vector.read(base, [on])
        titles = "[...document.getElementById('on').children].map((s) => s.title)"
        assert [float(t) for t in page.evaluate(titles)] == pytest.approx(reading.values, abs=0.006)
        # The slider and the button, as a person would use them.
        page.evaluate(
            "document.getElementById('strength').value = 0;"
            "document.getElementById('strength').dispatchEvent(new Event('input'));"
            "document.getElementById('go').click()"
        )
        page.wait("document.body.dataset.done == 2")
        assert text_of(page, "shown") == "0" and text_of(page, "on") == off
        page.evaluate("document.getElementById('kind').value = 'chat'")
        page.evaluate("document.getElementById('go').click()")
        page.wait("document.body.dataset.done == 3")
        assert text_of(page, "problem") == "" and text_of(page, "off")
        for width, dark in ((1280, False), (400, True)):
            page.resize(width, 900, dark=dark)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, "no sideways scrolling"
            page.take(tmp_path / f"{width}.png")
        assert page.problems == []
    page.evaluate("document.getElementById('go').click()")
    page.wait("document.body.dataset.done == 4")
    assert text_of(page, "problem"), "the server is gone, and the page says so"


def test_a_key_is_asked_for(base: LoadedModel, vector: SteeringVector, page: Page) -> None:
    vectors = Vectors(base, None, {"one": interventions_of(vector)})
    with serving(base, vectors, keys=("secret",)) as address:
        page.go(address)
        page.wait("!document.getElementById('problem').hidden")
        assert "give an API key" in text_of(page, "problem")
        assert page.evaluate("!document.getElementById('keyfield').hidden")
        page.evaluate(
            "document.getElementById('key').value = 'secret';"
            "document.getElementById('key').dispatchEvent(new Event('change'))"
        )
        page.wait("document.getElementById('vector').options.length == 1")
        assert text_of(page, "base") == "base"
