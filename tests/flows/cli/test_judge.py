"""`pas judge` on the command line, with `pas serve` itself as a judge."""

import json
from pathlib import Path

import pytest

from pas.models.loading import LoadedModel
from pas.steering.vector import SteeringVector
from serving.vectors import Vectors
from storage.registry.client import client
from storage.registry.versions import resolve
from storage.settings import settings
from tests.helpers.registries import log
from tests.helpers.running_server import chat_model, serving, vector_of


@pytest.fixture
def base(tmp_path: Path) -> LoadedModel:
    return chat_model(tmp_path)


@pytest.fixture
def vector(base: LoadedModel, tmp_path: Path) -> SteeringVector:
    vector = vector_of(base)
    vector.save(tmp_path / "cheerful")
    (tmp_path / "prompts.txt").write_text("Where does it sleep?\n\nIt eats\nWhy?\n")
    return vector


def test_texts_are_judged(pas, vector: SteeringVector, base: LoadedModel, tmp_path: Path) -> None:
    common = ("judge", tmp_path / "cheerful", "--prompts", tmp_path / "prompts.txt",
              "--max-new-tokens", "5")  # fmt: skip
    with serving(base, Vectors(base, None, {})) as address:
        ran = pas(
            *common, "--by", "length", "--by", "fluency", "--by", f"{address}/v1",
            "--judge-model", "base", "--strength", "1", "--strength", "3", "--json",
        )  # fmt: skip
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)
    assert [(r["by"], r["strength"]) for r in rows] == [
        (by, s) for s in (1.0, 3.0) for by in ("length", "fluency", f"{address}/v1")
    ]
    assert all(r["n"] == 3 and r["low"] <= r["rate"] <= r["high"] for r in rows)
    assert rows[4]["losses"] == 3, "strong steering of a random model is not fluent"
    ran = pas(*common, "--csv", tmp_path / "pairs.csv")
    assert ran.code == 0 and "keep pairs.csv.key.json" in ran.err
    text = (
        (tmp_path / "pairs.csv").read_text().replace(",\n", ",tie\n").replace(",\r\n", ",tie\r\n")
    )
    (tmp_path / "pairs.csv").write_text(text)
    ran = pas("judge", tmp_path / "cheerful", "--verdicts", tmp_path / "pairs.csv")
    assert ran.code == 0, ran.err
    assert "people" in ran.out and "0.50" in ran.out


def test_results_of_a_registered_vector_are_kept(
    pas, vector: SteeringVector, tmp_path: Path
) -> None:
    log(settings().open_registry(), "pas-tiny-toy", vector=vector)
    ran = pas("judge", "pas-tiny-toy", "--prompts", tmp_path / "prompts.txt", "--by", "refusal")
    assert ran.code == 0, ran.err
    registry = settings().open_registry()
    version = resolve(registry, "pas-tiny-toy")
    store = client(registry)
    metrics = store.get_run(version.run_id).data.metrics
    assert metrics["judge/refusal/strength_3/win_rate"] == 0.5
    assert len(store.list_artifacts(version.run_id, "judgements")) == 1


def test_what_is_refused(pas, vector: SteeringVector, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    folder, prompts = tmp_path / "cheerful", tmp_path / "prompts.txt"
    for arguments, words in (
        ((folder,), "give --prompts FILE with --by or --csv"),
        ((folder, "--prompts", prompts), "give --prompts FILE with --by or --csv"),
        ((folder, "--prompts", tmp_path / "empty.txt", "--by", "length"), "it is empty"),
        ((folder, "--prompts", tmp_path / "no.txt", "--by", "length"), "no.txt: cannot be read"),
        ((folder, "--prompts", prompts, "--by", "taste"), "--by taste: give length"),
        ((folder, "--prompts", prompts, "--by", "nowhere:f"), "no such function"),
        ((folder, "--prompts", prompts, "--by", "http://127.0.0.1:9/v1"), "does not answer"),
        ((folder, "--verdicts", prompts), "cannot be read"),
    ):
        ran = pas("judge", *arguments)
        assert ran.code == 2 and words in ran.err and "Traceback" not in ran.err, ran.err
