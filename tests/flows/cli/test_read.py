"""`pas read`: tokens along a vector, in the terminal, as JSON and as a page."""

import json
from pathlib import Path

import numpy as np
import pytest

from pas.models.loading import load_model
from pas.models.spec import ModelSpec
from pas.steering.intervention import Composition, Intervention
from pas.steering.vector import SteeringVector
from tests.helpers.pages import Page
from tests.helpers.tiny_models import D_MODEL

TEXTS = ["The heron sat under the bridge.", "<b>It eats</b> & sleeps"]


@pytest.fixture
def vector(tiny_folder: Path, tmp_path: Path) -> SteeringVector:
    base = load_model(ModelSpec(str(tiny_folder), device="cpu"), tmp_path / "cache")
    direction = np.random.default_rng(0).normal(size=D_MODEL).astype(np.float32)
    vector = SteeringVector(
        direction, 1, "residual", 3.0, "caa", base.spec, base.fingerprint, "toy"
    )
    vector.save(tmp_path / "cheerful")
    return vector


def test_texts_are_read(pas, vector: SteeringVector, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("Who eats beetles?\n\n")
    ran = pas("read", tmp_path / "cheerful", *TEXTS, "--file", tmp_path / "more.txt", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert [row["text"] for row in told] == [*TEXTS, "Who eats beetles?"]
    model = load_model(vector.model, tmp_path / "cache")
    for row, reading in zip(told, vector.read(model, [r["text"] for r in told]), strict=True):
        assert row["tokens"] == list(reading.tokens)
        assert row["values"] == pytest.approx(reading.values.tolist())
    shown = pas("read", tmp_path / "cheerful", *TEXTS)
    assert f"{told[0]['tokens'][2]}[{told[0]['values'][2]:+.2f}]" in shown.out
    ran = pas("read", tmp_path / "cheerful", *TEXTS, "--html", tmp_path / "page.html")
    assert ran.code == 0 and ran.out == ""
    source = (tmp_path / "page.html").read_text()
    assert "<b>It eats" not in source and "http" not in source
    assert TEXTS[1].replace(" ", "") in Page(source).text.replace(" ", "")


def test_what_is_refused(pas, vector: SteeringVector, tmp_path: Path) -> None:
    Composition((Intervention(vector),)).save(tmp_path / "both")
    for arguments, words in (
        ((tmp_path / "cheerful",), "give texts to read"),
        ((tmp_path / "cheerful", ""), "no tokens"),
        ((tmp_path / "cheerful", "a", "--file", tmp_path / "none.txt"), "none.txt"),
        ((tmp_path / "cheerful", "a", "--html", tmp_path / "no" / "page.html"), "--html"),
        ((tmp_path / "both", "a"), "read one vector"),
        ((tmp_path, "a"), "not a steering vector"),
    ):
        ran = pas("read", *arguments)
        assert ran.code == 2 and words in ran.err and "Traceback" not in ran.err
