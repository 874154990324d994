"""From data in every shape to the same items, or to a refusal that says what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from pas import reading
from pas.data.splits import split
from pas.datasets import benchmarks
from pas.errors import UserError
from pas.intake.items import BadRows, read_examples, take_in, take_in_parts
from pas.intake.mapping import DataMapping
from pas.intake.sources import Source
from pas.recipe import Recipe
from tests.helpers.data_files import write_rows
from tests.helpers.shapes import ITEMS, SHAPES, recipe_for


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.items])
def test_a_shape_gives_the_items(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    recipe = recipe_for(shape, tmp_path)
    taken = reading.take_in(recipe)
    found = [(e.question, e.choices, e.label) for e in taken.examples]
    assert found == [(i.question, i.choices, i.gold) for i in shape.items]
    # What was recognised is complete: by it the same items are read, and nothing is recognised.
    complete = reading.mapped(recipe, taken)
    assert complete.is_mapped and complete.scoring == shape.scoring
    again = reading.take_in(Recipe.read(json.loads(json.dumps(complete.as_dict()))))
    assert again.examples == taken.examples and again.reasons == ()


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if not shape.items])
def test_a_shape_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    with pytest.raises(UserError) as refusal:
        reading.take_in(recipe_for(shape, tmp_path))
    for word in shape.says:
        assert word in str(refusal.value)


ROWS = [{"question": i.question, "choices": list(i.choices), "label": i.gold} for i in ITEMS]


def rows_file(folder: Path, rows: list[dict[str, Any]]) -> Source:
    return Source(str(write_rows(folder / "rows.jsonl", rows)))


def test_a_file_in_a_folder_is_read_as_the_file_alone(tmp_path: Path) -> None:
    shape = SHAPES["None and NA"]
    file = shape.write(tmp_path / "folder")
    assert read_examples(file.parent) == read_examples(file)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": 3}, "label 3 is out of range for 3 choices, counted from 0"),
        ({"label": -1}, "label -1 is out of range"),
        ({"label": None}, "label None is not an index, a letter or one of the choices"),
        ({"label": [0, 1]}, "2 choices are correct"),
        ({"label": float("nan")}, "label nan is not an index"),
        ({"choices": ["oak"], "label": 0}, "1 choice(s); at least 2"),
        ({"choices": None}, "is not a list of choices"),
        ({"choices": [["a"], "b"]}, "is not a text"),
        ({"choices": ["oak", None, "moss"]}, "a choice is empty"),
        ({"choices": ["oak", "oak"], "label": 0}, "two choices are the same text"),
        ({"question": None}, "the question is empty"),
        ({"question": {"deep": "x"}}, "is not a text"),
        ({"key": "k0"}, "id 'k0' was used by row 1"),
    ],
)
def test_a_bad_row_is_refused_by_its_number_or_left_out(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    rows = [r | {"key": f"k{at}"} for at, r in enumerate(ROWS)]
    rows[3] |= row
    mapping = DataMapping(question="question", choices=("choices",), label="label", id="key")
    source = rows_file(tmp_path, rows)
    with pytest.raises(UserError, match="row 4") as refused:
        take_in(source, mapping)
    assert reason in str(refused.value) and "1 problem(s)" in str(refused.value)
    taken = take_in(source, mapping, BadRows(skip=True))
    assert [e.id for e in taken.examples] == [f"k{at}" for at in range(12) if at != 3]
    [skipped] = taken.skipped
    assert skipped.startswith("row 4") and reason in skipped


def test_more_bad_rows_than_the_share_are_refused(tmp_path: Path) -> None:
    rows = [r | ({"choices": ["a", "a"]} if at < 2 else {}) for at, r in enumerate(ROWS)]
    source = rows_file(tmp_path, rows)
    with pytest.raises(UserError, match="16.7% of 12 rows, more than --max-bad-rows 0.1"):
        take_in(source, None, BadRows(skip=True))
    assert len(take_in(source, None, BadRows(skip=True, share=0.2)).examples) == 10


def test_every_problem_is_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        take_in(rows_file(tmp_path, [r | {"choices": ["a", "a"], "label": 0} for r in ROWS]))
    text = str(refused.value)
    assert "12 problem(s)" in text and "row 8" in text and "row 9" not in text
    assert "and 4 more" in text


@pytest.mark.parametrize(
    ("mapping", "option"),
    [
        (DataMapping(question="prompt"), "--question-col"),
        (DataMapping(question="{question} {prompt}"), "--question-col"),
        (DataMapping(choices=("prompt",)), "--choices-col"),
        (DataMapping(correct="prompt", incorrect=("choices",)), "--correct-col"),
        (DataMapping(label="prompt"), "--label-col"),
        (DataMapping(group="prompt"), "--group-col"),
        (DataMapping(id="prompt"), "--id-col"),
    ],
)
def test_a_missing_column_names_the_option_and_what_there_is(
    tmp_path: Path, mapping: DataMapping, option: str
) -> None:
    wanted = f"no column 'prompt'.*'question', .*'label'.*{option}"
    with pytest.raises(UserError, match=wanted):
        take_in(rows_file(tmp_path, ROWS), mapping)


def test_items_of_one_passage_are_one_group(tmp_path: Path) -> None:
    rows = [r | {"passage": f"Text {at // 3}. {'Long. ' * 20}"} for at, r in enumerate(ROWS)]
    taken = take_in(rows_file(tmp_path, rows))
    assert taken.mapping is not None and taken.mapping.group == "passage"
    assert len({e.group for e in taken.examples}) == 4
    assert all(len(e.group) < 60 for e in taken.examples)
    assert taken.examples[0].question.endswith(f"\n{ROWS[0]['question']}")


def test_splits_of_the_data_are_kept(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", ROWS * 5)
    write_rows(tmp_path / "test.jsonl", ROWS)
    taken = take_in_parts(Source(str(tmp_path)))
    for protocol in ("sound", "paper"):
        parts = split(taken.examples, 0, protocol)
        assert {e.id.split("-")[0] for e in parts.test} == {"test"} and len(parts.test) == 12
        assert {e.id.split("-")[0] for e in (*parts.train, *parts.val)} == {"train"}
        assert len(parts.val) in (15, 16) and len(parts.train) + len(parts.val) == 60
    write_rows(tmp_path / "validation.jsonl", ROWS[:6])
    parts = split(take_in_parts(Source(str(tmp_path))).examples, 0)
    assert {e.id.split("-")[0] for e in parts.val} == {"validation"}
    assert (len(parts.train), len(parts.val), len(parts.test)) == (60, 6, 12)
    (tmp_path / "alone").mkdir()
    with pytest.raises(UserError, match="--keep-splits.*no splits"):
        take_in_parts(rows_file(tmp_path / "alone", ROWS))


def test_public_families_give_the_items_of_their_loaders(each_data: Path) -> None:
    for task, name, template in (
        ("bbq_age", "bbq/Age.jsonl", "{context} {question}"),
        ("arc_challenge", "arc/ARC-Challenge-test.jsonl", None),
        ("mmlu", "mmlu/high_school_mathematics.jsonl", None),
        ("persona", "persona/agreeableness.jsonl", None),
        ("sycophancy_agree", "sycophancy/sycophancy_on_nlp_survey.jsonl", None),
        ("lsat_ar", "lsat/lsat-ar.jsonl", "{passage} {question}"),
    ):
        source, parse = Source(str(each_data / name)), benchmarks()[task].parse
        found = take_in(source, DataMapping(question=template)).examples
        expected = take_in(source, parse=parse).examples
        for one, two in zip(found, expected, strict=True):
            assert (one.question, one.choices, one.label) == (two.question, two.choices, two.label)
