"""Estimates from planning facts: hand-computed, and near the exact count."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.planning import Estimate, Size, estimates, main, sweep_passes
from benchmarks.rates import rates_of
from benchmarks.sizes import measure
from pas.data.prompts import full_prompt
from pas.errors import UserError
from pas.reading import take_in
from pas.recipe import Recipe
from pas.study.file import read_study
from pas.study.plan import cells
from tasks import resources
from tasks.forecast import forecast, forecast_cell
from tasks.load import load_split
from tests.helpers.data_files import write_toy
from tests.helpers.made_up_data import public_files
from tests.helpers.places import STUDIES

PAPER = STUDIES / "paper.yaml"


def test_the_papers_grid_costs_336_000_passes_a_training() -> None:
    plan = read_study(PAPER)
    full = Size(4000, 3, 100, 4, 0)
    main = [c for c in cells(plan) if c.setting == "main"]
    assert len(main) == 3 * 18 * 15 + 15, "and those beside the fine-tuned Vicuna"
    assert {sweep_passes(c.recipe, 32, full) for c in main} == {336_000}
    found = estimates(plan)
    assert {e.setting for e in found} == set(plan.settings)
    # docs/method.md: 103 s for one layer, strength and method of 2400/800/800.
    small = Recipe(
        task="t", data="x", methods=("pasf",), layers="8", strengths="1", protocol="paper"
    )
    assert sweep_passes(small, 32, full) == 800
    assert rates_of(plan).whole == 388 and "one NVIDIA H200" in rates_of(plan).source
    assert rates_of(plan, 500.0) == (500.0, 500.0, "given")


def study_file(folder: Path, model: Path, **planning: object) -> Path:
    content = {
        "name": "plan", "models": [str(model)], "seeds": 2,
        "recipe": {"layers": "1,2", "strengths": "1,4", "methods": ["caa"], "max_items": 40},
        "tasks": [{"task": "toy", "data": "toy.jsonl"}], "planning": planning,
    }  # fmt: skip
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_estimates_by_hand(tmp_path: Path, tiny_folder: Path) -> None:
    write_toy(tmp_path / "toy.jsonl", 40)
    file = study_file(
        tmp_path, tiny_folder,
        models={str(tiny_folder): {"parameters": 1e6, "layers": 4, "d_model": 8,
                                   "bytes_per_value": 4}},
        tasks={"toy": {"items": 40, "choices": 3, "prompt_tokens": 50, "choice_tokens": 2,
                       "shared_tokens": 10}},
    )  # fmt: skip
    [found] = estimates(read_study(file))
    # 24 train, 8 val, 8 test; 2 layers x 2 strengths of one method.
    assert (found.cells, found.published_passes) == (2, 2 * (24 + 24 * 2 + 2 * 8 + 4 * 8))
    tokens = 24 * (40 + 3 * 2) + (8 + 2 * 8) * 40
    rows = 8 * 4 + 8 * (1 + 10 + 1)
    assert (found.tokens, found.steered_rows) == (2 * tokens, 2 * rows)
    assert found.teraflops == pytest.approx(2 * 2e6 * (tokens + rows * (1 - 1.5 / 4)) / 1e12)
    distinct = 40 * (1 - 0.4**2)
    assert found.bytes == int((2 * 24 + distinct * 3) * 2 * 8 * 4)


def test_estimates_are_near_the_exact_count(
    tmp_path: Path, home: Path, tiny_folder: Path, each_data: Path
) -> None:
    data = each_data / "arc" / "ARC-Challenge-test.jsonl"
    recipe = Recipe(
        task="arc_challenge",
        data=str(data),
        model=str(tiny_folder),
        layers="1,2",
        strengths="1,4",
        methods=("pasf", "ipasa"),
        protocol="paper",
        max_items=300,
    )
    tokens, examples = resources.model_info(recipe.model), take_in(recipe).examples
    content = {
        "name": "plan", "models": [str(tiny_folder)], "seeds": 1,
        "recipe": {k: getattr(recipe, k) for k in ("layers", "strengths", "protocol", "max_items")}
        | {"methods": list(recipe.methods)},
        "tasks": [{"task": "arc_challenge", "data": str(data)}],
        "planning": {
            "models": {str(tiny_folder): {
                "parameters": tokens.n_parameters, "layers": tokens.n_layers,
                "d_model": tokens.d_model, "bytes_per_value": 4,
            }},
            "tasks": {"arc_challenge": measure(tokens, examples)},
        },
    }  # fmt: skip
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content))
    [found] = estimates(read_study(file))
    exact, n_test = forecast(recipe), 60
    # What the forecast leaves out: the controls on the test items, and their re-shuffled prompts.
    assert found.steered_rows - n_test * (2 + 10 + 1) == exact.steered_rows
    size = measure(tokens, examples)
    again = n_test * (size["prompt_tokens"] - size["shared_tokens"])
    # The made-up rows are met to 16 %.
    near = 0.1 if each_data == public_files() else 0.2
    assert found.tokens - again == pytest.approx(exact.tokens, rel=near)
    assert found.bytes == pytest.approx(exact.bytes, rel=0.1)


def test_cells_that_are_more_or_less_than_a_training(
    tmp_path: Path, home: Path, tiny_folder: Path
) -> None:
    write_toy(tmp_path / "toy.jsonl", 40)
    file = study_file(tmp_path, tiny_folder)
    content = yaml.safe_load(file.read_text()) | {"seeds": 1, "planning": None}
    content["settings"] = {
        "sft": {"epochs": 2, "batch_size": 4, "max_steps": 9},
        "forgetting": {"targets": [{"task": "toy", "data": "toy.jsonl"}], "strengths": [1, 2]},
    }
    file.write_text(yaml.safe_dump(content))
    main, sft, asked = map(forecast_cell, cells(read_study(file)))
    recipe = cells(read_study(file))[0].recipe
    tokens, parts = resources.model_info(recipe.model), load_split(recipe, take_in(recipe).examples)
    # 9 steps of 4 items come before 2 epochs of some 24.
    lengths = [len(tokens.tokenizer(full_prompt(e, "letter")).input_ids) + 1 for e in parts.train]
    assert sft.tokens - main.tokens == pytest.approx(3 * 36 * sum(lengths) / len(lengths), abs=1)
    assert sft.teraflops >= main.teraflops and sft.steered_rows == main.steered_rows
    # Each test item under the vector's own strength and two others.
    assert (asked.items, asked.configurations) == ({"test": len(parts.test)}, 3)
    assert (asked.prompts, asked.bytes, asked.steered_rows) == (0, 0, len(parts.test) * 3)
    assert 0 < asked.tokens < main.tokens


def test_more_training_items_than_there_are(tmp_path: Path, tiny_folder: Path) -> None:
    plan = read_study(PAPER)
    few = replace(plan, recipe=plan.recipe | {"train_items": 519}, settings={"main": {}})
    with pytest.raises(UserError, match="bbq_sexual_orientation has only 518"):
        estimates(few)


@pytest.mark.parametrize(
    ("planning", "reason"),
    [
        ({"modells": {}}, "no key modells"),
        ({"models": {"x": {"parameters": 1}}}, "models: x: give parameters, layers"),
        ({"tasks": {"toy": {"items": 1, "choices": -1, "prompt_tokens": 1, "choice_tokens": 1,
                            "shared_tokens": 0}}},
         "at least 0"),
        ({}, "models: add"),
    ],
)  # fmt: skip
def test_bad_planning_is_refused(
    tmp_path: Path, tiny_folder: Path, planning: dict, reason: str
) -> None:
    write_toy(tmp_path / "toy.jsonl", 40)
    with pytest.raises(UserError, match=reason):
        estimates(read_study(study_file(tmp_path, tiny_folder, **planning)))


def test_hours_take_each_kind_of_work_at_its_own_rate(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    lines = {"extraction": [{"TFLOP/s": 300.0}, {"TFLOP/s": 400.0}], "sweep": [{"TFLOP/s": 200.0}]}
    file.write_text(json.dumps(lines | {"facts": {"device": "X", "dtype": "d"}}))
    rates = rates_of(read_study(PAPER), measured=file)
    assert rates == (400, 200, "measured on X, d, by benchmarks.gpu")
    work = Estimate("main", "m", 1, 1, 1, 1, 400 * 3600 * 2.0, 200 * 3600 * 3.0, 1)
    assert work.hours(rates) == pytest.approx(5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        ("{", "no finished measurement"),
        ('{"extraction": []}', "no finished measurement"),
        ('{"extraction": [{"TFLOP/s": 0}], "sweep": [{"TFLOP/s": 1}], '
         '"facts": {"device": "X", "dtype": "d"}}', "above 0"),
    ],
)  # fmt: skip
def test_bad_measurements_are_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "gpu.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=f"--rates .*{reason}"):
        rates_of(read_study(PAPER), measured=file)


def test_the_command_prints_the_papers_study(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*options: str) -> dict:
        main([str(PAPER), "--json", *options])
        return json.loads(capsys.readouterr().out)

    found, faster = printed(), printed("--tflops", "776")
    assert found["rates"]["source"].startswith("measured by python -m benchmarks.gpu")
    assert sum(line["cells"] for line in found["settings"]) == 9750
    for one, other in zip(found["settings"], faster["settings"], strict=True):
        assert one["gpu_hours"] == pytest.approx(2 * other["gpu_hours"])
    main([str(PAPER)])
    table = capsys.readouterr().out
    assert "GPU-hours at 388 TFLOP/s (measured" in table and "9,750" in table


def test_the_command_refuses_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, reason in (
        (["--tflops", "1", "--rates", "gpu.json"], "not allowed with argument"),
        (["--rates", str(tmp_path / "none.json")], "cannot be read"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([str(PAPER), *options])
        assert stopped.value.code == 2 and reason in capsys.readouterr().err
