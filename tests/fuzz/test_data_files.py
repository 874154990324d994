"""Whatever a data file holds, it gives items or an error that the user can correct."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pas.errors import UserError
from pas.intake.items import BadRows, take_in
from pas.intake.sources import Source
from pas.intake.survey import counts, warnings
from tests.helpers.bad_inputs.data import LINES, TABLE, good_parquet, rows, tarred, zipped
from tests.helpers.fuzz import bounded, changed

pytestmark = pytest.mark.faults
GOOD: dict[str, bytes] = {
    "csv": TABLE.encode(),
    "csv in UTF-16": TABLE.encode("utf-16"),
    "csv in cp1252": TABLE.replace("Where", "Où").encode("cp1252"),
    "json": json.dumps({"data": rows()}).encode(),
    "jsonl": LINES.encode(),
    "parquet": good_parquet(),
    "gzip": gzip.compress(TABLE.encode()),
    "bzip2": bz2.compress(LINES.encode()),
    "xz": lzma.compress(TABLE.encode()),
    "zip": zipped(("t.csv", TABLE)),
    "tar": tarred(("t.jsonl", LINES.encode())),
    "workbook": zipped(("[Content_Types].xml", "<x/>"), ("xl/sheet1.xml", TABLE)),
}
_names = st.sampled_from(
    ["question", "choices", "label", "answer", "text", "correct", "incorrect", "options", "id",
     "group", "chosen", "rejected", "A", "B", "choice1", "choice2", "", "a.b", "0"]
)  # fmt: skip
_texts = st.one_of(
    st.sampled_from(
        [
            "",
            "a",
            "B",
            "(A) x (B) y",
            "yes",
            "true",
            "0",
            "1",
            "-1",
            "['a', 'b']",
            '["a","b"]',
            "a;b",
            "a|b",
            "array(['a', 'b'], dtype=object)",
            "{1: []}",
            "\ud800",
            "[" * 500,
            "9" * 5000,
        ]
    ),  # fmt: skip
    st.text(max_size=8),
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _texts),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=8,
)
_sources = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(["csv", "json", "parquet"]),
        "encoding": st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-7", "idna", "utf-8-sig"]),
        "separator": st.sampled_from([",", "tab", ";", "|", " ", "é"]),
        "quotes": st.sampled_from(["double", "none"]),
        "header": st.booleans(),
        "rows": st.sampled_from(["data", "data.0", ""]),
        "member": st.sampled_from(["t.csv", "t.jsonl", "none"]),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read(folder: Path, content: bytes, options: dict[str, Any], tally: Any) -> None:
    file = folder / "t.data"
    file.write_bytes(content)
    tally.add("fuzzed inputs", tried=1)
    try:
        taken = take_in(Source(str(file), **options), bad_rows=BadRows(True, 1.0))
        assert counts(taken).items == len(taken.examples)
        warnings(taken)
        for example in taken.examples:
            assert example.question.strip() and 0 <= example.label < len(example.choices)
            example.question.encode()
    except UserError as error:
        assert str(error).strip()
    tally.add("fuzzed inputs", handled=1)


@bounded(120)
@given(content=st.binary(max_size=600), options=_sources)
def test_noise(folder: Path, tally: Any, content: bytes, options: dict[str, Any]) -> None:
    read(folder, content, options, tally)


@pytest.mark.parametrize("kind", GOOD)
def test_good_files_that_were_changed(folder: Path, tally: Any, kind: str) -> None:
    @bounded(60)
    @given(content=changed(GOOD[kind]), options=st.one_of(st.just({}), _sources))
    def run(content: bytes, options: dict[str, Any]) -> None:
        read(folder, content, options, tally)

    run()


@bounded(250)
@given(made=st.lists(st.dictionaries(_names, _values, max_size=6), max_size=6), lines=st.booleans())
def test_rows_in_json(folder: Path, tally: Any, made: list[Any], lines: bool) -> None:
    text = "\n".join(map(json.dumps, made)) if lines else json.dumps(made)
    read(folder, text.encode(), {}, tally)


@bounded(150)
@given(document=_values)
def test_documents_in_json(folder: Path, tally: Any, document: Any) -> None:
    read(folder, json.dumps(document).encode(), {}, tally)


@bounded(150)
@given(header=st.lists(_names, min_size=1, max_size=5), cells=st.lists(_texts, max_size=20))
def test_tables_of_text(folder: Path, tally: Any, header: list[str], cells: list[str]) -> None:
    sink = io.StringIO()
    table = csv.writer(sink)
    table.writerow(header)
    table.writerows(cells[at : at + len(header)] for at in range(0, len(cells), len(header)))
    read(folder, sink.getvalue().encode("utf-8", "replace"), {}, tally)
