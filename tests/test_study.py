"""A study runs every cell, keeps what it has, reports what failed, and refuses bad files."""

import json
from pathlib import Path

import pytest
import yaml
from data_files import write_toy

from flows.study import study
from pas.errors import UserError
from pas.statistics import paired_t
from pas.study import CellResult
from pas.summary import summarise
from tasks import resources
from tasks.study import cells, read_study


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
    assert [(c.recipe.task, c.recipe.seed) for c in found] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    assert found[2].recipe.methods == ("caa",) and found[2].recipe.layers == "1,2"
    assert found[0].recipe.data == str(file.parent / "one.jsonl")


def test_a_study_runs_resumes_and_outlives_a_failed_cell(home: Path, file: Path) -> None:
    # A third task that cannot work: one training item has no right and wrong answers.
    write_toy(file.parent / "few.jsonl", 3)
    content = yaml.safe_load(file.read_text())
    content["tasks"].append({"task": "few", "data": "few.jsonl"})
    change(file, tasks=content["tasks"])
    first = study(read_study(file), "pas study study.yaml")
    done = [r for r in first.results if not r.failed]
    failed = [r for r in first.results if r.failed]
    assert {(r.task, r.seed) for r in done} == {(t, s) for t in ("one", "two") for s in (0, 1)}
    assert {r.task for r in failed} == {"few"} and all("--methods" in r.failed for r in failed)
    assert all(r.verdict and r.n_test and r.run_id for r in done)
    assert set(done[0].method_deltas) == {"pasf", "ipasa", "ipaswo", "caa"}
    page = first.page.read_text()
    assert "toy-study" in page and "few" in page and done[0].verdict in page
    assert json.loads((first.page.parent / "results.json").read_text())[0] == done[0].as_dict()
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
        ({"seeds": "many"}, "seeds a number or a list"),
        ({"models": "demo"}, "models is a list"),
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


def result(task: str, seed: int, before: float, after: float, **more: object) -> CellResult:
    return CellResult("m", task, "bias", seed, verdict="real", baseline_accuracy=before,
                      steered_accuracy=after, **more)  # fmt: skip


def test_the_summary_tests_over_seeds_and_corrects() -> None:
    results = [result("a", s, 0.5, 0.6 + 0.01 * s) for s in range(4)]
    results += [result("b", s, 0.5, 0.5 + 0.01 * (-1) ** s) for s in range(4)]
    results += [result("c", 0, 0.4, 0.5), CellResult("m", "d", "bias", 0, failed="no data")]
    summary = summarise(results)
    assert [t.task for t in summary.tasks] == ["a", "b", "c"]
    a, b, c = summary.tasks
    assert a.test == paired_t([0.5] * 4, [0.6, 0.61, 0.62, 0.63])
    assert a.adjusted_p == pytest.approx(2 * a.test.p_value) and b.adjusted_p >= b.test.p_value
    assert c.adjusted_p is None and c.test.mean == pytest.approx(0.1)
    assert [f.task for f in summary.failed] == ["d"]
    assert summary.pooled is not None and summary.pooled.n_rows == 9
    assert summarise([results[-1]]).pooled is None
