"""Reading rows of every format from files and folders; what cannot be read is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest

from pas.data.sources import Source, read_rows
from pas.errors import UserError
from tests.helpers.data_files import write_rows

ROW = {"question": "Which is a fruit?", "choices": ["oak", "plum"], "label": 1}


def test_a_local_folder_in_hub_layout(tmp_path: Path) -> None:
    for part, rows in (("train", [ROW] * 3), ("validation", [ROW] * 2)):
        write_rows(tmp_path / f"{part}.jsonl", rows)
    place = str(tmp_path)
    assert len(read_rows(Source(place))) == 2  # validation comes before train
    assert len(read_rows(Source(place, split="train"))) == 3
    with pytest.raises(UserError, match="no split 'test'; it has train, validation"):
        read_rows(Source(place, split="test"))
    with pytest.raises(UserError, match="nope"):
        read_rows(Source(place, config="nope"))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.csv", "", "the file is empty"),
        ("x.csv", "\n\n", "cannot be read"),
        ("x.csv", "question,choices,label\n", "no data"),
        ("x.json", "[]", "no data"),
        ("x.json", '{"question": ', "cannot be read"),
        ("x.txt", "hello", "suffix is not one of .csv, .tsv"),
        ("x.csv", None, "no such file or folder"),
        ("nowhere/x", None, "no such file or folder"),
    ],
)
def test_an_unreadable_source(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"--data .*{name}.*{reason}"):
        read_rows(Source(str(tmp_path / name)))


def test_threads_may_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` removes tqdm's lock after each load, so a second thread could find it gone."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"x": 1}\n{"x": 2}\n')
    together: list[int] = []
    running = 0
    load = datasets.load_dataset

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal running
        running += 1
        together.append(running)
        try:
            return load(*args, **kwargs)
        finally:
            running -= 1

    monkeypatch.setattr(datasets, "load_dataset", counted)
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: read_rows(Source(str(file))), range(8)))
    assert tables == [[{"x": 1}, {"x": 2}]] * 8
    assert together == [1] * 8
