"""A study's dry run from planning facts: hand-computed, and near the exact count."""

from pathlib import Path

import pytest
import yaml
from data_files import write_toy

from pas.errors import UserError
from pas.prompts import encode, full_prompt
from storage.settings import settings
from tasks import resources
from tasks.forecast import forecast
from tasks.load import read_examples
from tasks.planning import Size, estimates, rate, sweep_passes
from tasks.recipe import Recipe
from tasks.study import cells, read_study

PAPER = Path(__file__).parents[1] / "studies" / "paper.yaml"


def test_the_papers_grid_costs_336_000_passes_a_training() -> None:
    plan = read_study(PAPER)
    full = Size(4000, 3, 100, 4)
    main = [c for c in cells(plan) if c.setting == "main"]
    assert len(main) == 3 * 18 * 15
    assert {sweep_passes(c.recipe, 32, full) for c in main} == {336_000}
    found = estimates(plan)
    assert {e.setting for e in found} == set(plan.settings)
    # METHOD.md: 103 s for one layer, strength and method of 2400/800/800.
    small = Recipe("t", "x", methods=("pasf",), layers="8", strengths="1", protocol="paper")
    assert sweep_passes(small, 32, full) == 800
    assert rate(plan, None)[0] > 0 and "assumed" in rate(plan, None)[1]
    assert rate(plan, 500.0) == (500.0, "given")


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
        tasks={"toy": {"items": 40, "choices": 3, "prompt_tokens": 50, "choice_tokens": 2}},
    )  # fmt: skip
    [found] = estimates(read_study(file))
    # 24 train, 8 val, 8 test; 2 layers x 2 strengths of one method.
    assert (found.cells, found.published_passes) == (2, 2 * (24 + 24 * 2 + 2 * 8 + 4 * 8))
    tokens = 24 * (50 + 3 * 2) + (8 + 2 * 8) * 50
    rows = 8 * 4 + 8 * (1 + 10 + 1)
    assert (found.tokens, found.steered_rows) == (2 * tokens, 2 * rows)
    assert found.teraflops == pytest.approx(2 * 2e6 * (tokens + rows * (1 - 1.5 / 4)) / 1e12)
    distinct = 40 * (1 - 0.4**2)
    assert found.bytes == int((2 * 24 + distinct * 3) * 2 * 8 * 4)


def test_estimates_are_near_the_exact_count(tmp_path: Path, home: Path, tiny_folder: Path) -> None:
    write_toy(tmp_path / "toy.jsonl", 40)
    recipe = Recipe(
        "toy", str(tmp_path / "toy.jsonl"), model=str(tiny_folder), layers="1,2",
        strengths="1,4", methods=("caa",), max_items=40,
    )  # fmt: skip
    tokens, examples = resources.tokens(recipe.spec), read_examples(recipe)
    prompts = [len(encode(tokens, full_prompt(e, "letter")).token_ids) for e in examples]
    choices = [len(encode(tokens, f" {c}").token_ids) for e in examples for c in e.choices]
    file = study_file(
        tmp_path, tiny_folder,
        models={str(tiny_folder): {"parameters": tokens.n_parameters, "layers": tokens.n_layers,
                                   "d_model": tokens.d_model, "bytes_per_value": 4}},
        tasks={"toy": {"items": 40, "choices": len(choices) / 40,
                       "prompt_tokens": sum(prompts) / 40,
                       "choice_tokens": sum(choices) / len(choices)}},
    )  # fmt: skip
    [found] = estimates(read_study(file))
    exact = forecast(recipe)
    # The trie shares the instruction that toy prompts begin with, and the test items count twice.
    assert found.steered_rows / 2 == pytest.approx(exact.steered_rows, rel=4)
    assert exact.tokens * 0.8 < found.tokens / 2 < exact.tokens * 2
    assert settings().root == home.resolve()


@pytest.mark.parametrize(
    ("planning", "reason"),
    [
        ({"modells": {}}, "no key modells"),
        ({"models": {"x": {"parameters": 1}}}, "models: x: give parameters, layers"),
        ({"tasks": {"toy": {"items": 1, "choices": 0, "prompt_tokens": 1, "choice_tokens": 1}}},
         "number above 0"),
        ({}, "models: add"),
    ],
)  # fmt: skip
def test_bad_planning_is_refused(
    tmp_path: Path, tiny_folder: Path, planning: dict, reason: str
) -> None:
    write_toy(tmp_path / "toy.jsonl", 40)
    with pytest.raises(UserError, match=reason):
        estimates(read_study(study_file(tmp_path, tiny_folder, **planning)))
