"""A study runs every cell, keeps what it has, reports what failed, and refuses bad files."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from flows.study import study
from pas.errors import UserError
from pas.study.file import read_study
from pas.study.plan import cells
from pas.study.results import SCHEMA
from storage.catalogue.views import query
from storage.lake.stages import read_split
from storage.registry.client import client
from tasks import resources
from tasks.load import load
from tests.helpers import oracle
from tests.helpers.data_files import write_toy


@pytest.fixture
def file(tmp_path: Path, tiny_folder: Path) -> Path:
    write_toy(tmp_path / "one.jsonl", 60)
    write_toy(tmp_path / "two.jsonl", 50)
    content = {
        "name": "toy-study", "models": [str(tiny_folder)], "seeds": 2,
        "recipe": {"layers": "1,2", "strengths": "1,4", "group_col": "topic"},
        "tasks": [{"task": "one", "data": "one.jsonl"},
                  {"task": "two", "data": "two.jsonl", "methods": ["caa"]}],
    }  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def change(file: Path, **changes: object) -> Path:
    content = yaml.safe_load(file.read_text())
    content |= changes
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return file


def test_every_cell_once_by_model(file: Path) -> None:
    plan = read_study(file)
    found = cells(plan)
    assert [(c.recipe.task, c.recipe.seed) for c in found] == [
        ("one", 0),
        ("one", 1),
        ("two", 0),
        ("two", 1),
    ]
    assert found[2].recipe.methods == ("caa",) and found[2].recipe.layers == (1, 2)
    assert found[0].recipe.data.name == str(file.parent / "one.jsonl")


@pytest.mark.server
@pytest.mark.whole
def test_a_study_runs_resumes_and_outlives_a_failed_cell(home: Path, file: Path) -> None:
    # A third task that cannot work: one training item has not both right and wrong answers.
    write_toy(file.parent / "few.jsonl", 3)
    content = yaml.safe_load(file.read_text())
    few = {"task": "few", "data": "few.jsonl", "methods": ["pasf"], "label_base": 0}
    content["tasks"].append(few)
    change(file, tasks=content["tasks"])
    first = study(read_study(file), "pas study study.yaml")
    done = [r for r in first.results if not r.failed]
    failed = [r for r in first.results if r.failed]
    assert {(r.task, r.seed) for r in done} == {(t, s) for t in ("one", "two") for s in (0, 1)}
    assert {r.task for r in failed} == {"few"}
    assert all("at least 5 items are needed" in r.failed for r in failed)
    assert all(r.verdict and r.n_test and r.run_id for r in done)
    assert set(done[0].method_deltas) == {"pasf", "ipasa", "ipaswo", "caa"}
    page = first.page.read_text()
    assert "toy-study" in page and "few" in page and done[0].verdict in page
    document = json.loads((first.page.parent / "results.json").read_text())
    assert (document["schema"], document["study"]) == (SCHEMA, "toy-study")
    assert document["results"] == [result.as_dict() for result in first.results]
    shards = resources.lake().list("activations")

    again = study(read_study(file))
    assert [r for r in again.results if not r.failed] == done, "taken from the lake, run ids too"
    assert resources.lake().list("activations") == shards
    # Other data under the same name is another result.
    write_toy(file.parent / "one.jsonl", 40)
    changed = study(read_study(file)).results
    assert changed[0].run_id != done[0].run_id and changed[2] == done[2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seeds": None}, "'seeds' is missing"),
        ({"sedes": 3}, "no key 'sedes'"),
        ({"seeds": "many"}, "seeds: give how many, from 1 to 10,000, or a list"),
        ({"models": "demo"}, "models: give a list"),
        ({"tasks": []}, "at least one task"),
        ({"tasks": [{"data": "x.csv"}]}, "task 1: give a name"),
        ({"tasks": [{"task": "one", "sites": "mlp"}]}, "task 1: there is no field sites"),
        ({"tasks": [{"task": "one", "data": "one.jsonl"}] * 2}, "two tasks"),
        ({"recipe": {"protocol": "fast"}}, "--protocol fast"),
        ({"recipe": {"seed": 1}}, "no field seed"),
    ],
)
def test_a_bad_file_is_refused(file: Path, changes: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_study(change(file, **changes))


def test_what_is_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_study(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    with pytest.raises(UserError, match="not valid YAML"):
        read_study(broken)
    broken.write_text("!!python/object/apply:os.system [true]")
    with pytest.raises(UserError, match="not valid YAML"):
        read_study(broken)


def with_settings(file: Path, **settings: object) -> Path:
    return change(file, settings=settings)


def test_settings_expand_to_cells(file: Path) -> None:
    found = cells(
        read_study(
            with_settings(
                file, icl={"shots": 3, "recipe": {"strengths": "1,2"}, "seeds": [1]},
                sites={"sites": ["mlp"], "tasks": ["two"]}, samples={"train_items": [4, 8]},
                sft={"rank": 2, "epochs": 1},
                forgetting={"targets": [{"task": "one", "data": "one.jsonl"}], "strengths": [2]},
            )
        )
    )  # fmt: skip
    count = Counter((c.setting, c.variant) for c in found)
    assert count == {
        ("main", ""): 4, ("icl", ""): 2, ("sft", ""): 4, ("sites", "mlp"): 2,
        ("samples", "4"): 4, ("samples", "8"): 4, ("forgetting", "one"): 4,
    }  # fmt: skip
    assert [c.setting for c in found] == sorted(
        (c.setting for c in found), key=[*count_order()].index
    ), "the main trainings come first"
    icl = next(c for c in found if c.setting == "icl")
    assert (icl.recipe.shots, icl.recipe.strengths, icl.recipe.seed) == (3, (1.0, 2.0), 1)
    sft = next(c for c in found if c.setting == "sft")
    assert sft.tuning is not None and (sft.tuning.rank, sft.tuning.epochs) == (2, 1)
    forgetting = next(c for c in found if c.setting == "forgetting")
    assert forgetting.target is not None and forgetting.strengths == (2.0,)
    assert forgetting.target.data.name == str(file.parent / "one.jsonl")


def test_a_setting_may_have_models_of_its_own(file: Path) -> None:
    """What its cells are laid beside is run for them, and nothing else of such a model."""
    base = read_study(file).models[0]["model"]
    study = read_study(
        with_settings(
            file, sft={"models": ["other", base], "tasks": ["two"], "seeds": [1]},
            icl={"models": ["other"], "tasks": ["two"], "seeds": [1]},
        )
    )  # fmt: skip
    found = [(c.recipe.model.id, c.setting, c.recipe.task, c.recipe.seed) for c in cells(study)]
    assert found[4:] == [
        (base, "sft", "two", 1), ("other", "main", "two", 1),
        ("other", "icl", "two", 1), ("other", "sft", "two", 1),
    ]  # fmt: skip
    assert {(model, setting) for model, setting, *_ in found[:4]} == {(base, "main")}
    # Named again, a model of the study keeps its fields.
    change(file, models=[{"model": base, "dtype": "float32"}], settings={"icl": {"models": [base]}})
    assert {(c.setting, c.recipe.model.dtype) for c in cells(read_study(file))} == {
        ("main", "float32"), ("icl", "float32"),
    }  # fmt: skip


def count_order() -> tuple[str, ...]:
    return ("main", "icl", "sft", "sites", "samples", "forgetting")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"icl": {"shot": 3}}, "settings: icl: there is no field shot"),
        ({"fewshot": {}}, "settings: name some of main, icl"),
        ({"samples": {}}, "give train_items"),
        ({"forgetting": {}}, "give targets"),
        ({"forgetting": {"targets": [{"data": "x"}]}}, "target 1: give a name"),
        ({"icl": {"tasks": ["three"]}}, "three is not a task of"),
        ({"icl": {"recipe": {"stength": "1"}}}, "no field stength"),
        ({"sft": {"rank": 0}}, "--rank 0"),
        ({"sft": {"models": "x"}}, "settings: sft: models: give a list"),
        ({"main": {"models": ["x"]}}, "settings: main: there is no field models"),
        ({"sites": {"sites": ["lung"]}}, "--site lung"),
    ],
)
def test_bad_settings_are_refused(file: Path, settings: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_study(with_settings(file, **settings))


@pytest.mark.server
@pytest.mark.whole
def test_every_setting_runs_and_is_kept(home: Path, file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    change(file, seeds=1, tasks=content["tasks"][:1])
    with_settings(
        file, icl={"shots": 2}, sft={"rank": 2, "max_steps": 2}, sites={"sites": ["mlp"]},
        samples={"train_items": [20]},
        forgetting={"targets": [{"task": "two", "data": "two.jsonl", "group_col": "topic"}],
                    "strengths": [1, 3]},
    )  # fmt: skip
    done = study(read_study(file))
    assert not done.summary.failed, [r.failed for r in done.summary.failed]
    by_setting = {r.setting: r for r in done.results}
    assert set(by_setting) == set(count_order())
    main, forgetting = by_setting["main"], by_setting["forgetting"]
    assert main.neutral_kl is not None and (main.neutral_kl > 0) == (main.strength != 0)
    assert by_setting["sft"].fingerprint != main.fingerprint == by_setting["icl"].fingerprint
    assert [a.setting for a in done.summary.arms] == ["icl", "sft"]
    arms = done.summary.arms[0]
    assert (arms.plain, arms.steered) == (main.baseline_accuracy, main.steered_accuracy)
    assert arms.both == by_setting["icl"].steered_accuracy
    # A study is evidence: nothing becomes a candidate, and no promotion is set off.
    assert client(resources.registry()).search_registered_models() == []

    # The curve, by hand: each item of the other task under the kept vector.
    target = next(c.target for c in cells(read_study(file)) if c.target)
    test = read_split(resources.lake(), load(target)).test
    spec = target.model
    model = resources.model(spec)
    sql = (
        f"SELECT direction FROM vectors WHERE run_id = '{main.run_id}' "
        f"AND method = '{main.method}' AND layer = {main.layer}"
    )
    [row] = query(resources.lake(), sql).to_pylist()
    direction = torch.tensor(row["direction"])
    for strength, accuracy, kl in forgetting.curve:
        steering = oracle.Steering(main.layer, strength * direction) if strength else None
        right = [
            oracle.argmax(
                oracle.letter_scores(
                    model.model, model.tokenizer,
                    oracle.full_prompt(e.question, e.choices), len(e.choices), "both", steering,
                )
            ) == e.label
            for e in test
        ]  # fmt: skip
        assert accuracy == pytest.approx(sum(right) / len(right))
        assert (kl > 0) == (strength > 0)
    strengths = [point.strength for point in forgetting.curve]
    assert strengths == sorted({1.0, 3.0, main.strength})
    own = next(p for p in forgetting.curve if p.strength == main.strength)
    assert forgetting.steered_accuracy == own.accuracy

    again = study(read_study(file))
    assert again.results == done.results
    page = done.page.read_text()
    assert "forgetting" in page and "samples" in page
