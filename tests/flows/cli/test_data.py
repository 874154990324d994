"""`pas data`: what it prints, writes and warns of."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.data_files import write_rows
from tests.helpers.shapes import ITEMS, SHAPES

ROWS = [{"question": i.question, "choices": list(i.choices), "label": i.gold} for i in ITEMS]


@pytest.fixture
def shown(pas: Any) -> Any:
    """Run `pas data ... --json` and return what it printed."""

    def run(*arguments: object) -> dict[str, Any]:
        done = pas("data", *arguments, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return run


def test_json_has_the_items_in_the_datas_own_order(shown: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "Some rows.jsonl", ROWS)
    found = shown(file)
    assert found["items"] == 12 and found["warnings"] == [] and found["scoring"] == "letter"
    for name, item in zip(("first", "second"), ITEMS, strict=False):
        expected = {"question": item.question, "choices": list(item.choices), "gold": item.answer}
        assert found[name] == expected
    assert found["mapping"] == {
        "question": "question", "choices": ["choices"], "label": "label", "label_kind": "index",
        "label_base": 0, "strip_letters": False,
    }  # fmt: skip
    assert found["counts"]["labels"] == {"0": 4, "1": 4, "2": 4}
    assert found["train"] == f"pas train --task some-rows --data '{file}'"


def test_what_is_printed_marks_the_correct_choice_as_the_model_sees_it(
    pas: Any, tmp_path: Path
) -> None:
    done = pas("data", write_rows(tmp_path / "rows.jsonl", ROWS), "--seed", "3")
    text = " ".join(done.out.split())
    for expected in ("JSON lines", "certain: a list in each row", "12 items with 3"):
        assert expected in text
    marked = [
        line.split("correct", 1)[1].strip()
        for line in done.out.splitlines()
        if line.strip().startswith("correct ") and ":" in line and "number" not in line
    ]
    assert [line.split(": ", 1)[1] for line in marked] == [i.answer for i in ITEMS[:3]]
    assert "next: pas train --task rows" in done.err


def test_other_splits_are_told(pas: Any, shown: Any, tmp_path: Path) -> None:
    folder = SHAPES["splits"].write(tmp_path)
    assert shown(folder)["other_splits"] == {"train": 24}
    text = " ".join(pas("data", folder).out.split())
    assert "test, 12 rows" in text and "train (24 rows)" in text


def test_a_mapping_file_is_written_and_read(pas: Any, shown: Any, tmp_path: Path) -> None:
    file, kept = SHAPES["semicolons"].write(tmp_path), tmp_path / "m.yaml"
    pas("data", file, "--data-separator", ";", "--save-mapping", kept)
    assert yaml.safe_load(kept.read_text())["data"] == {"separator": ";"}
    found = shown(file, "--mapping", kept)
    assert found["reasons"] == [] and found["mapping"]["question"] == "Frage"
    assert found["train"].endswith(f"--mapping {kept}")
    # What the command line says goes before the file.
    assert (
        shown(file, "--mapping", kept, "--question-col", "Antwort A")["first"]["question"]
        == (ITEMS[0].choices[0])
    )
    for text, reason in (
        ("mapping: {questoin: a}", "questoin"),
        ("columns: {question: a}", "columns"),
        ("[1, 2]", "give a mapping"),
        ("mapping: {label_base: 2}", "--label-base 2"),
    ):
        kept.write_text(text)
        refused = pas("data", file, "--mapping", kept)
        assert refused.code == 2 and reason in refused.err and "Traceback" not in refused.err


def test_a_page_for_a_colleague_shows_items_and_escapes_them(pas: Any, tmp_path: Path) -> None:
    rows = [r | {"question": f"<b>{r['question']}</b> [bold]"} for r in ROWS]
    page = tmp_path / "page.html"
    pas("data", write_rows(tmp_path / "rows.jsonl", rows), "--html", page)
    refused = pas("data", tmp_path / "rows.jsonl", "--html", tmp_path / "none" / "page.html")
    assert refused.code == 2 and "--html" in refused.err and "Traceback" not in refused.err
    text = page.read_text()
    assert "<b>" not in text and text.count("✓ correct") == 12 and "[bold]" in text


def test_the_longest_prompt_is_compared_with_the_models_window(
    shown: Any, tmp_path: Path, tiny_folder: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    found = shown(file, "--model", tiny_folder)
    assert 10 < found["longest"] < 200 and found["warnings"] == []
    assert shown(file)["longest"] is None
    rows = [r | ({"question": "Why? " * 2000} if n == 4 else {}) for n, r in enumerate(ROWS)]
    long = shown(write_rows(tmp_path / "long.jsonl", rows), "--model", tiny_folder)
    assert long["longest"] == found["longest"]
    [warning] = long["warnings"]
    assert "1 items cannot be scored by this model, such as item 'row-5'" in warning


def test_a_built_in_task_reads_its_file(shown: Any, each_data: Path) -> None:
    found = shown(each_data / "bbq" / "Age.jsonl", "--task", "bbq_age")
    assert found["mapping"] is None and found["items"] > 10


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda r: r | {"label": 0}, "The correct choice is number 1 in 12 of 12"),
        (lambda r: ROWS[1], "11 items repeat"),
        (
            lambda r: r | {"question": f"Which is number {r['label']}{r['question'][6]}?"},
            "--group-col",
        ),
        (lambda r: r | {"notes": "It is said of old. " * 10}, "'notes' holds long texts"),
        (
            lambda r: r | {"question": f"{r['question']} {', '.join(r['choices'])}"},
            "contains all choices",
        ),
    ],
)
def test_what_may_be_wrong_is_said(shown: Any, tmp_path: Path, change: Any, warning: str) -> None:
    found = shown(write_rows(tmp_path / "rows.jsonl", [change(r) for r in ROWS]))
    assert any(warning in w for w in found["warnings"])


def test_rows_that_are_left_out_are_listed(shown: Any, pas: Any, tmp_path: Path) -> None:
    rows = [r | ({"choices": ["a"]} if n == 2 else {}) for n, r in enumerate(ROWS)]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    assert "row 3" in pas("data", file).err
    found = shown(file, "--skip-bad-rows")
    assert found["items"] == 11 and found["skipped"][0].startswith("row 3")
    assert any("1 rows (8.3%) were left out" in w for w in found["warnings"])
