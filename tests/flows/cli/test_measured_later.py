"""What is measured after a training joins the page of its run."""

import json
from pathlib import Path

import pytest

from flows.train import train
from storage.registry.client import client, download
from storage.registry.judgements import read_judgements
from storage.registry.runs import REPORT_FOLDER
from storage.registry.versions import resolve
from tasks import resources
from tasks.reports.page import report_file
from tests.helpers.pages import Page
from tests.helpers.recipes import toy

pytestmark = pytest.mark.server


@pytest.mark.whole
def test_a_calibration_and_judgements_are_on_the_page_of_the_run(
    pas, home: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    made = train(toy(tmp_path, tiny_folder, instruction="Say <b>A</b>.")).outcome
    registry = resources.registry()
    version = resolve(registry, made.model_name)
    file = report_file(version.run_id)

    def page() -> Page:
        kept = f"{REPORT_FOLDER}/{file.name}"
        root = client(registry).get_run(version.run_id).info.artifact_uri
        folder = tmp_path / "downloaded"
        folder.mkdir(exist_ok=True)
        text = download(registry, f"{root}/{kept}", folder).read_text("utf-8")
        assert text == file.read_text("utf-8")
        return Page(text)

    before = page()
    assert "Asking in words" in before.text and "instruction: Say <b>A</b>." in before.text
    assert "Calibration" not in before.text and "Open-ended texts" not in before.text

    for budget in (0.1, 0.05):
        ran = pas("calibrate", made.model_name, "--budget", budget, "--json")
        assert ran.code == 0, ran.err
    strength = json.loads(ran.out)["strength"]
    told = page().text
    assert told.count("Calibration") == 1, "a later one takes the place of an earlier one"
    source = file.read_text("utf-8")
    assert "mathdefault" not in source and "#000000" not in source, "as the page's own pictures"
    assert f"at most 0.05 nats per token is {strength:.3g} ;" in told

    (tmp_path / "prompts.txt").write_text("Where does it sleep?\nIt eats\n")
    common = ("judge", made.model_name, "--prompts", tmp_path / "prompts.txt",
              "--max-new-tokens", "3")  # fmt: skip
    for options in (("--by", "length"), ("--by", "refusal", "--strength", "2")):
        assert pas(*common, *options).code == 0
    assert pas(*common, "--strength", "2", "--csv", tmp_path / "pairs.csv").code == 0
    rows = (tmp_path / "pairs.csv").read_text()
    (tmp_path / "pairs.csv").write_text(rows.replace(",\n", ",first\n").replace(",\r\n", ",tie\n"))
    ran = pas("judge", made.model_name, "--verdicts", tmp_path / "pairs.csv")
    assert ran.code == 0, ran.err
    kept = read_judgements(registry, version)
    assert [(row["by"], row["strength"]) for row in kept] == [
        ("length", made.strength), ("refusal", 2.0), ("people", 2.0),
    ]  # fmt: skip
    told = page().text
    assert told.count("Open-ended texts") == 1 and told.count("Calibration") == 1
    for row in kept:
        rate = f"{row['rate']:.3f} {row['low']:.3f} to {row['high']:.3f}"
        assert rate in told and row["day"] in told, told

    # A page of an older release has no place for them.
    file.write_text("<html></html>")
    client(registry).log_artifact(version.run_id, str(file), REPORT_FOLDER)
    assert pas(*common, "--by", "length").code == 0
    assert file.read_text() == "<html></html>"
    assert len(read_judgements(registry, version)) == 4
