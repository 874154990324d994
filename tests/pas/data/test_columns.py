"""From files of every format to examples; what is unreadable is refused with its place."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from pas.data.columns import Columns, examples_from_columns, parse_rows
from pas.data.examples import Example, digest
from pas.data.sources import Source, read_rows
from pas.datasets import benchmarks
from pas.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"question": "Which is a fruit?", "choices": ["oak", "plum", "moss"], "label": 1},
    {"question": "Which flies?\tNone?", "choices": ["None", "swift, or owl"], "label": 0},
    {"question": "Which is even?", "choices": ["1", "3", "04"], "label": 2},
]
WIDE = Columns(choices=("a", "b", "c"))
BBQ = {"example_id": 7, "question_index": "2", "category": "Age", "context_condition": "ambig",
       "context": " A man and a boy ran. ", "question": "Who fell?",
       "ans0": "The man", "ans1": "The boy ", "ans2": "Not known"}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the path's ending names; lists become JSON text in csv."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        with path.open("w", newline="") as handle:
            separator = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(handle, rows[0], delimiter=separator)
            writer.writeheader()
            for row in rows:
                writer.writerow(
                    {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
                )
    return path


def wide(row: dict[str, Any]) -> dict[str, Any]:
    cells = dict.fromkeys(WIDE.choices) | dict(zip(WIDE.choices, row["choices"], strict=False))
    return {"question": row["question"], "label": row["label"]} | cells


def read(path: Path, columns: Columns) -> list[Example]:
    return examples_from_columns(read_rows(Source(str(path))), columns, str(path))


@pytest.mark.parametrize("shape", ["list", "wide"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.json", "x.jsonl", "x.parquet", "a [1].csv"])
def test_every_file_format_gives_the_same_examples(tmp_path: Path, name: str, shape: str) -> None:
    rows, columns = (ROWS, Columns()) if shape == "list" else ([wide(r) for r in ROWS], WIDE)
    found = read(write(tmp_path / name, rows), columns)
    assert [(e.question, list(e.choices), e.label) for e in found] == [
        (row["question"], row["choices"], row["label"]) for row in ROWS
    ]
    assert [e.id for e in found] == [e.group for e in found] == ["row-1", "row-2", "row-3"]
    assert [e.stratum for e in found] == ["1", "0", "2"]


def test_a_local_folder_in_hub_layout(tmp_path: Path) -> None:
    for part, rows in (("train", ROWS), ("validation", ROWS[:2])):
        write(tmp_path / f"{part}.jsonl", rows)
    place = str(tmp_path)
    assert len(read_rows(Source(place))) == 2  # validation comes before train
    assert len(read_rows(Source(place, split="train"))) == 3
    with pytest.raises(UserError, match="no split 'test'; it has train, validation"):
        read_rows(Source(place, split="test"))
    with pytest.raises(UserError, match="nope"):
        read_rows(Source(place, config="nope"))


@pytest.mark.parametrize(
    "cell",
    [
        {"text": ["oak", "plum"], "label": ["1", "2"]},
        [{"text": "oak", "label": "1"}, {"text": "plum", "label": "2"}],
    ],
)
def test_choices_that_bring_their_own_names(tmp_path: Path, cell: Any) -> None:
    row = {"question": "Which is a fruit?", "choices": cell, "label": "2"}
    (found,) = read(write(tmp_path / "hub.jsonl", [row]), Columns())
    assert (found.choices, found.label) == (("oak", "plum"), 1)


@pytest.mark.parametrize(
    "labels",
    [[2, 0, 1], ["2", "0", "1"], ["C", "A", "B"], ["(c)", "A.", " b"], ["moss", "oak", "plum"]],
)
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_labels_by_index_letter_or_text(tmp_path: Path, name: str, labels: list[Any]) -> None:
    rows = [wide(ROWS[0]) | {"label": label} for label in labels]
    assert [e.label for e in read(write(tmp_path / name, rows), WIDE)] == [2, 0, 1]


def test_group_and_id_columns(tmp_path: Path) -> None:
    rows = [row | {"topic": f"t{at // 2}", "key": f"0{at}"} for at, row in enumerate(ROWS)]
    found = read(write(tmp_path / "x.csv", rows), Columns(group="topic", id="key"))
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
        ({"label": None}, "label None is no index, no letter and none of the choices oak | plum"),
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
    [("D", "out of range"), ("", "none of the choices"), (None, "none of the choices"),
     ("AB", "none of the choices"), ("birch", "none of the choices")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["letter", "text"])
def test_a_bad_label_in_a_column_of_letters_or_texts(
    kind: str, label: str | None, reason: str
) -> None:
    good = [ROWS[0] | {"label": "B" if kind == "letter" else "plum"}] * 3
    reason = reason if kind == "letter" else "none of the choices"
    with pytest.raises(UserError, match=f"1 problem(.|\n)*row 4: label .*{reason}"):
        examples_from_columns([*good, ROWS[0] | {"label": label}], Columns(), "here")


def test_a_gap_between_choice_columns_is_refused_and_one_at_the_end_is_not(tmp_path: Path) -> None:
    full, gap = wide(ROWS[0]), wide(ROWS[0]) | {"b": None, "label": 2}
    short = wide(ROWS[0]) | {"c": None}
    assert read(write(tmp_path / "x.csv", [full, short]), WIDE)[1].choices == ("oak", "plum")
    with pytest.raises(UserError, match="row 2.*a choice is empty"):
        read(write(tmp_path / "y.csv", [full, gap]), WIDE)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.csv", "", "the file is empty"),
        ("x.csv", "\n\n", "cannot be read"),
        ("x.csv", "question,choices,label\n", "no data"),
        ("x.json", "[]", "no data"),
        ("x.json", '{"question": ', "cannot be read"),
        ("x.txt", "hello", "ending is none of .csv, .tsv"),
        ("x.csv", None, "no such file or folder"),
        ("nowhere/x", None, "no such file or folder"),
    ],
)
def test_an_unreadable_source(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"--data .*{name}.*{reason}"):
        read_rows(Source(str(tmp_path / name)))
    with pytest.raises(UserError, match="no rows"):
        examples_from_columns([], Columns(), "here")


def test_bbq_reads_upstream_and_hub_rows_alike(tmp_path: Path) -> None:
    task = benchmarks()["bbq_age"]
    assert task.parse is not None
    for label in ("label", "answer_label"):
        path = write(tmp_path / f"{label}.jsonl", [BBQ | {label: 1}])
        assert parse_rows(read_rows(Source(str(path))), task.parse, "here") == [
            Example(
                id="Age-7", question="A man and a boy ran. Who fell?",
                choices=("The man", "The boy", "Not known"), label=1, group="Age-2",
                stratum="ambig",
            )
        ]  # fmt: skip
    with pytest.raises(UserError, match="row 2: there is no field 'answer_label'"):
        parse_rows([BBQ | {"label": 0}, BBQ], task.parse, "here")


def test_a_digest_follows_content_and_order() -> None:
    found = examples_from_columns(ROWS, Columns(), "here")
    assert digest(found) == digest(examples_from_columns(ROWS, Columns(), "elsewhere"))
    others = [found[::-1], found[:2]]
    for change in ({"label": 0}, {"group": "g"}, {"stratum": "s"}, {"fact": "f"}):
        others.append([Example(**(vars(found[0]) | change)), *found[1:]])
    assert len({digest(found), *map(digest, others)}) == 1 + len(others)
