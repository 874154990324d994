"""Retraining: what counts as a change, and that nothing happens where there is none."""

from pathlib import Path
from typing import Any

import pytest

from flows import events
from flows.retrain import Retraining, retrain
from flows.train import train
from pas.errors import UserError
from pas.recipe import Recipe
from storage.registry.client import client
from storage.registry.origin import Origin, read_origin
from storage.registry.promotion import promote
from storage.registry.versions import VectorVersion, list_versions
from tasks import resources
from tests.helpers.data_files import write_toy
from tests.helpers.recipes import toy
from tests.helpers.tiny_models import save_tiny

pytestmark = pytest.mark.server


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Names and payloads of what was emitted; that they arrive is tested on a real server."""
    seen: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        events, "emit_event", lambda event, resource, payload: seen.append((event, payload))
    )
    return seen


@pytest.fixture
def recipe(tmp_path: Path, home: Path, tiny_folder: Path) -> Recipe:
    return toy(tmp_path, tiny_folder, split_rule="stable", methods=("caa",))


def versions() -> list[VectorVersion]:
    return list_versions(resources.registry())


def n_runs() -> int:
    store = client(resources.registry())
    return len(store.search_runs([e.experiment_id for e in store.search_experiments()]))


def ended(recipe: Recipe) -> tuple[str, str]:
    """Retrain, and return name and message of the state that the run ends in."""
    state = retrain(recipe, return_state=True)
    return str(state.name), str(state.message)


def test_it_trains_once_then_sees_nothing_changed_then_what_did(
    recipe: Recipe,
    tmp_path: Path,
    told: list[Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = retrain(recipe)
    assert first.training is not None and first.changes == ["there is no version yet"]
    assert first.version == 1
    [(name, payload)] = told
    assert (name, payload["name"], payload["version"]) == (
        "pas.candidate.registered", first.name, 1,
    )  # fmt: skip

    # Never judged: it is handed over again. Judged: nothing happens.
    with monkeypatch.context() as patch:
        patch.delattr(resources, "model")  # so that loading a model fails
        assert ended(recipe) == ("Unchanged", "nothing changed since version 1")
    assert "nothing changed since version 1 of pas-tiny-llama-toy" in caplog.text
    assert [payload for _, payload in told] == [payload, payload]
    promote(resources.registry(), first.name, 1)
    assert retrain(recipe) == Retraining(first.name, 1, [], None) and len(told) == 2
    assert (len(versions()), n_runs()) == (1, 1)

    # More rows: it trains, on a split in which nothing has moved.
    write_toy(Path(str(recipe.data.name)), 80)
    grown = retrain(recipe)
    assert grown.changes == ["data: 60 items before, 80 now"]
    assert grown.training is not None and grown.version == 2 and len(told) == 3
    # The old rows again: version 1 was made from them.
    write_toy(Path(str(recipe.data.name)), 60)
    assert ended(recipe)[1] == "nothing changed since version 1"

    other = retrain(recipe.but(strengths="1,2", seed=3))
    assert other.changes == ["recipe: seed, strengths"]
    assert (len(versions()), n_runs()) == (3, 3)


def test_the_same_vector_of_another_recipe_marks_the_version_it_finds(
    recipe: Recipe, told: list[Any]
) -> None:
    retrain(recipe)
    # What caps more items than there are gives the same split, and so the same vector.
    same = recipe.but(max_items=1000)
    found = retrain(same)
    assert found.changes == ["recipe: max_items"] and found.training is not None
    assert not found.training.outcome.is_new and len(versions()) == 1
    assert ended(same)[0] == "Unchanged" and n_runs() == 2
    # And a training by hand is known to the schedule.
    train(recipe.but(seed=5))
    assert ended(recipe.but(seed=5))[1] == "nothing changed since version 2"


def test_the_models_files_and_the_code_count(
    recipe: Recipe, tmp_path: Path, told: list[Any]
) -> None:
    one, other = (
        recipe.but(model=str(save_tiny("llama", tmp_path / str(seed) / "tiny", seed=seed)))
        for seed in (1, 2)
    )
    assert retrain(one).version == 1
    changes = retrain(other).changes
    assert changes[0].startswith("model: fingerprint ") and changes[1:] == ["recipe: model"]
    [version] = [v for v in versions() if v.version == 2]
    before = read_origin(version.tags)
    assert before is not None
    now = Origin(before.data, before.items, before.model, before.recipe, "other")
    assert now.changes_since(before) == ["code: of the method"] and now.digest != before.digest


def test_a_version_that_does_not_say_what_it_was_made_from_is_trained_anew(
    recipe: Recipe, told: list[Any]
) -> None:
    outcome = train(recipe).outcome
    store = client(resources.registry())
    for tag in [t for t in versions()[0].tags if t.startswith("made_from")]:
        store.delete_model_version_tag(outcome.model_name, "1", tag)
    again = retrain(recipe)
    assert again.changes == ["no version tells what it was made from"] and again.version == 1
    assert ended(recipe)[0] == "Unchanged"


def test_a_failure_is_an_event(recipe: Recipe, told: list[Any]) -> None:
    Path(str(recipe.data.name)).write_text("")
    for start in (retrain, train):
        with pytest.raises(UserError, match="empty"):
            start(recipe)
    with pytest.raises(UserError):
        train(recipe, candidate=False)
    assert [name for name, _ in told] == ["pas.training.failed"] * 2
    payload = told[0][1]
    assert payload["name"] == "pas-tiny-llama-toy" and "empty" in payload["error"]
    assert len(payload["flow_run"]) == 36
