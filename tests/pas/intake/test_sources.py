"""Reading rows of every format from files and folders; what cannot be read is refused."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pytest

from pas.errors import UserError
from pas.intake.sources import Source, count_rows, read_part, read_rows
from tests.helpers import object_store
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
        ("x.csv", "\n\n", "the file is empty"),
        ("x.csv", "question,choices,label\n", "no rows"),
        ("x.json", "[]", "no rows"),
        ("x.json", '{"question": ', "cannot be read"),
        ("x.txt", "hello", "no rows"),
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
    write_rows(tmp_path / "train.jsonl", [{"x": 1}, {"x": 2}])
    together: list[int] = []
    running = 0
    load = datasets.load_dataset_builder

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal running
        running += 1
        together.append(running)
        try:
            return load(*args, **kwargs)
        finally:
            running -= 1

    monkeypatch.setattr(datasets, "load_dataset_builder", counted)
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: read_rows(Source(str(tmp_path))), range(8)))
    assert tables == [[{"x": 1}, {"x": 2}]] * 8
    assert together == [1] * 8


def test_what_datasets_has_saved_is_read(tmp_path: Path) -> None:
    part = datasets.Dataset.from_list([ROW] * 3)
    part.save_to_disk(tmp_path / "one")
    assert read_rows(Source(str(tmp_path / "one"))) == [ROW] * 3
    datasets.DatasetDict({"train": part, "test": part.select([0])}).save_to_disk(tmp_path / "two")
    assert read_part(Source(str(tmp_path / "two"))).others == ("train",)
    assert count_rows(Source(str(tmp_path / "two")), ["train"]) == {"train": 3}


def test_an_address_is_read_through_fsspec(tmp_path: Path) -> None:
    with fsspec.open("memory://there/a.jsonl", "wb") as handle:
        handle.write(json.dumps(ROW).encode() + b"\n")
    assert read_rows(Source("memory://there/a.jsonl")) == [ROW]
    with pytest.raises(UserError, match="--data memory://there/b.jsonl: the file cannot be read"):
        read_rows(Source("memory://there/b.jsonl"))
    with pytest.raises(UserError, match="holds a user name, a password or a signature") as refused:
        Source("s3://key:secret@host/a.jsonl")
    assert "secret" not in str(refused.value)
    with pytest.raises(UserError, match="--data what://there"):
        read_rows(Source("what://there"))
    signed = "https://host/a.csv?X-Amz-Signature=secret&X-Amz-Expires=60"
    with pytest.raises(UserError, match="or a signature") as refused:
        Source("rows.csv", labels=signed)
    assert "secret" not in str(refused.value)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store.bucket() as url:
        yield url


def put(url: str, data: bytes) -> str:
    with fsspec.open(url, "wb") as handle:
        handle.write(data)
    return url


@pytest.mark.server
def test_files_and_labels_of_an_object_store(bucket: str) -> None:
    rows = b"question,a,b\n1+1?,2,3\n1+2?,4,3\n"
    read = [{"question": "1+1?", "a": 2, "b": 3}, {"question": "1+2?", "a": 4, "b": 3}]
    plain = put(f"{bucket}/files/data.csv", rows)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("data.csv", rows)
    packed = put(f"{bucket}/files/data.zip", zipped.getvalue())
    assert read_rows(Source(plain)) == read_rows(Source(packed)) == read
    for name, data in (("labels", b"0\n1\n"), ("labels.gz", gzip.compress(b"0\n1\n"))):
        labels = put(f"{bucket}/files/{name}", data)
        labelled = read_rows(Source(packed, labels=labels))
        assert labelled == [row | {"label": n} for row, n in zip(read, ("0", "1"), strict=True)]
    with pytest.raises(UserError, match=f"--data-labels {bucket}/no: the file cannot be read"):
        read_rows(Source(plain, labels=f"{bucket}/no"))


@pytest.mark.server
def test_a_folder_of_an_object_store(bucket: str) -> None:
    place = f"{bucket}/folder"
    line = json.dumps(ROW).encode() + b"\n"
    put(f"{place}/README.md", b"# About")
    put(f"{place}/data/train-00000-of-00002.jsonl", line)
    put(f"{place}/data/train-00001-of-00002.jsonl", line * 2)
    put(f"{place}/data/test-00000-of-00001.jsonl", line * 4)
    part = read_part(Source(place))
    assert (part.name, len(part.rows), part.others) == ("test", 4, ("train",))
    assert len(read_rows(Source(place, split="train"))) == 3
    # What was added meanwhile is seen.
    put(f"{place}/data/validation-00000-of-00001.jsonl", line)
    assert len(read_rows(Source(f"{place}/", split="validation"))) == 1
    put(f"{bucket}/other/README.md", b"# About")
    with pytest.raises(UserError, match=f"--data {bucket}/other: there are no files of data"):
        read_rows(Source(f"{bucket}/other"))
    with pytest.raises(UserError, match="--data s3://nowhere/x: the file cannot be read"):
        read_rows(Source("s3://nowhere/x"))
