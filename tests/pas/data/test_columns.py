"""From files of every format to examples; what is unreadable is refused with its place."""

from pathlib import Path
from typing import Any

import pytest

from pas.data.columns import Columns, examples_from_columns
from pas.data.examples import Example
from pas.data.sources import Source, read_rows
from pas.errors import UserError
from tests.helpers.data_files import write_rows

ROWS: list[dict[str, Any]] = [
    {"question": "Which is a fruit?", "choices": ["oak", "plum", "moss"], "label": 1},
    {"question": "Which flies?\tNone?", "choices": ["None", "swift, or owl"], "label": 0},
    {"question": "Which is even?", "choices": ["1", "3", "04"], "label": 2},
]


WIDE = Columns(choices=("a", "b", "c"))


def wide(row: dict[str, Any]) -> dict[str, Any]:
    cells = dict.fromkeys(WIDE.choices) | dict(zip(WIDE.choices, row["choices"], strict=False))
    return {"question": row["question"], "label": row["label"]} | cells


def read(path: Path, columns: Columns) -> list[Example]:
    return examples_from_columns(read_rows(Source(str(path))), columns, str(path))


@pytest.mark.parametrize("shape", ["list", "wide"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.json", "x.jsonl", "x.parquet", "a [1].csv"])
def test_every_file_format_gives_the_same_examples(tmp_path: Path, name: str, shape: str) -> None:
    rows, columns = (ROWS, Columns()) if shape == "list" else ([wide(r) for r in ROWS], WIDE)
    found = read(write_rows(tmp_path / name, rows), columns)
    assert [(e.question, list(e.choices), e.label) for e in found] == [
        (row["question"], row["choices"], row["label"]) for row in ROWS
    ]
    assert [e.id for e in found] == [e.group for e in found] == ["row-1", "row-2", "row-3"]
    assert [e.stratum for e in found] == ["1", "0", "2"]


@pytest.mark.parametrize(
    "cell",
    [
        {"text": ["oak", "plum"], "label": ["1", "2"]},
        [{"text": "oak", "label": "1"}, {"text": "plum", "label": "2"}],
    ],
)
def test_choices_that_bring_their_own_names(tmp_path: Path, cell: Any) -> None:
    row = {"question": "Which is a fruit?", "choices": cell, "label": "2"}
    (found,) = read(write_rows(tmp_path / "hub.jsonl", [row]), Columns())
    assert (found.choices, found.label) == (("oak", "plum"), 1)


@pytest.mark.parametrize(
    "labels",
    [[2, 0, 1], ["2", "0", "1"], ["C", "A", "B"], ["(c)", "A.", " b"], ["moss", "oak", "plum"]],
)
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_labels_by_index_letter_or_text(tmp_path: Path, name: str, labels: list[Any]) -> None:
    rows = [wide(ROWS[0]) | {"label": label} for label in labels]
    assert [e.label for e in read(write_rows(tmp_path / name, rows), WIDE)] == [2, 0, 1]


def test_group_and_id_columns(tmp_path: Path) -> None:
    rows = [row | {"topic": f"t{at // 2}", "key": f"0{at}"} for at, row in enumerate(ROWS)]
    found = read(write_rows(tmp_path / "x.csv", rows), Columns(group="topic", id="key"))
    assert [(e.id, e.group) for e in found] == [("00", "t0"), ("01", "t0"), ("02", "t1")]


@pytest.mark.parametrize(
    ("columns", "option"),
    [
        (Columns(question="prompt"), "--question-col"),
        (Columns(choices=("prompt",)), "--choices-col"),
        (Columns(choices=("question", "prompt")), "--choices-col"),
        (Columns(label="prompt"), "--label-col"),
        (Columns(group="prompt"), "--group-col"),
        (Columns(id="prompt"), "--id-col"),
    ],
)
def test_a_missing_column_names_the_option_and_what_there_is(columns: Columns, option: str) -> None:
    with pytest.raises(UserError, match=f"no column 'prompt'.*'question', .*'label'.*{option}"):
        examples_from_columns(ROWS, columns, "here")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": 3}, "label 3 is out of range for 3 choices, counted from 0"),
        ({"label": -1}, "label -1 is out of range"),
        ({"label": None}, "label None is not an index, a letter or one of the choices oak | plum"),
        ({"choices": ["oak"], "label": 0}, r"1 choice(s); at least 2"),
        ({"choices": None, "label": 0}, r"1 choice(s); at least 2"),
        ({"choices": ["oak", None, "moss"]}, "a choice is empty"),
        ({"choices": ["oak", "oak"]}, "two choices are the same text"),
        ({"question": None}, "the question is empty"),
        ({"key": "k0"}, "id 'k0' was used by row 1"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(row: dict[str, Any], reason: str) -> None:
    rows = [r | {"key": f"k{at}"} for at, r in enumerate([*ROWS, ROWS[0]])]
    rows[3] |= row
    with pytest.raises(UserError) as refused:
        examples_from_columns(rows, Columns(id="key"), "here")
    assert "row 4" in str(refused.value) and reason in str(refused.value)
    assert not any(f"row {at} " in str(refused.value) for at in (2, 3))


@pytest.mark.parametrize(
    ("label", "reason"),
    [("D", "out of range"), ("", "one of the choices"), (None, "one of the choices"),
     ("AB", "one of the choices"), ("birch", "one of the choices")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["letter", "text"])
def test_a_bad_label_in_a_column_of_letters_or_texts(
    kind: str, label: str | None, reason: str
) -> None:
    good = [ROWS[0] | {"label": "B" if kind == "letter" else "plum"}] * 3
    reason = reason if kind == "letter" else "one of the choices"
    with pytest.raises(UserError, match=f"1 problem(.|\n)*row 4: label .*{reason}"):
        examples_from_columns([*good, ROWS[0] | {"label": label}], Columns(), "here")


def test_a_gap_between_choice_columns_is_refused_and_one_at_the_end_is_not(tmp_path: Path) -> None:
    full, gap = wide(ROWS[0]), wide(ROWS[0]) | {"b": None, "label": 2}
    short = wide(ROWS[0]) | {"c": None}
    assert read(write_rows(tmp_path / "x.csv", [full, short]), WIDE)[1].choices == ("oak", "plum")
    with pytest.raises(UserError, match="row 2.*a choice is empty"):
        read(write_rows(tmp_path / "y.csv", [full, gap]), WIDE)


def test_no_rows_are_refused() -> None:
    with pytest.raises(UserError, match="no rows"):
        examples_from_columns([], Columns(), "here")
