"""Data files: empty, damaged, of another kind, or with rows that are no items."""

import bz2
import datetime
import decimal
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.bad_inputs.case import Case, Place

ROW = {"question": "Where does the heron sleep?", "choices": ["a b", "c d"], "label": 0}
TABLE = "question,choices,label\n" + "".join(
    f'Where is {i}?,"[""a b"",""c d""]",0\n' for i in range(30)
)
LINES = "".join(json.dumps(ROW | {"question": f"Where is heron {i}?"}) + "\n" for i in range(30))


def rows(**changes: object) -> list[dict[str, object]]:
    """Thirty good rows, of which the third is changed."""
    made: list[dict[str, object]] = [ROW | {"question": f"Where is heron {i}?"} for i in range(30)]
    made[2] |= changes
    return made


def every_row(**changes: object) -> list[dict[str, object]]:
    return [row | changes for row in rows()]


def zipped(*members: tuple[str, str | bytes], **options: object) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def encrypted() -> bytes:
    """A zip whose only member says that it is encrypted."""
    data = bytearray(zipped(("t.csv", TABLE)))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + at] |= 1
    return bytes(data)


def wrong_method() -> bytes:
    """A zip whose only member is packed in a way that is not known."""
    data = bytearray(zipped(("t.csv", TABLE)))
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.find(mark) + at] = 77
    return bytes(data)


def flipped(data: bytes, at: float) -> bytes:
    place = int(len(data) * at)
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def tarred(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def parquet(table: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    return file.getvalue()


def good_parquet() -> bytes:
    return parquet({k: [ROW[k]] * 30 for k in ROW})


def saved(p: Place, name: str, content: str) -> object:
    import datasets

    datasets.Dataset.from_list(rows()).save_to_disk(str(p.folder / "saved"))
    p.write(f"saved/{name}", content)
    return p.folder / "saved"


def folder(p: Place, **files: str | bytes) -> object:
    (p.folder / "data").mkdir()
    for name, content in files.items():
        p.write(f"data/{name.replace('__', '.')}", content)
    return p.folder / "data"


def looped(p: Place) -> object:
    (p.folder / "loop.csv").symlink_to(p.folder / "loop.csv")
    return p.folder / "loop.csv"


def piped(p: Place) -> object:
    os.mkfifo(p.folder / "pipe.csv")
    return p.folder / "pipe.csv"


def file(name: str, content: str | bytes, *options: object, words: tuple[str, ...]) -> Case:
    return Case(lambda p: p.train(p.write(name, content), *options), words)


def items(made: list[dict[str, object]], *options: object, words: tuple[str, ...]) -> Case:
    return Case(lambda p: p.train(p.lines(*made), *options), words)


NOWHERE = "http://127.0.0.1:1/rows.csv"
CASES: dict[str, Case] = {
    # Files
    "empty": file("t.jsonl", "", words=("t.jsonl", "empty")),
    "blank": file("t.csv", " \n\n\t\n", words=("t.csv", "empty")),
    "a mark of UTF-8 alone": file("t.csv", b"\xef\xbb\xbf", words=("no rows",)),
    "a header alone": file("t.csv", "question,choices,label\n", words=("no rows", "--data-format")),
    "no file": Case(lambda p: p.train(p.folder / "none.csv"), ("no such file or folder",)),
    "no folder": Case(lambda p: p.train("./none"), ("no such file or folder",)),
    "a loop of links": Case(lambda p: p.train(looped(p)), ("no such file or folder",)),
    "a pipe": Case(lambda p: p.train(piped(p)), ("no such file or folder",)),
    "a device": Case(lambda p: p.train("/dev/zero"), ("no such file or folder",)),
    "an endless name": Case(
        lambda p: p.train("x" * 5000 + ".csv"), ("cannot be a file or folder",)
    ),
    "an endless path": Case(
        lambda p: p.train("/" + "x/" * 3000 + "t.csv"), ("cannot be a file or folder",)
    ),
    "no name": Case(lambda p: p.train(""), ("--data: it is empty", "hub id")),
    "a blank name": Case(lambda p: p.train("  "), ("--data: it is empty", "hub id")),
    "a home of nobody": Case(
        lambda p: p.train("~nobody-at-all/t.csv"), ("cannot be a file or folder",)
    ),
    "an empty folder": Case(
        lambda p: p.train(folder(p)), ("not a readable file or folder", "Check the path")
    ),
    "a folder of notes": Case(
        lambda p: p.train(folder(p, notes__md="hello")), ("no rows", "--data-format")
    ),
    "a folder named like a table": Case(
        lambda p: p.train(folder(p, x__csv="a,b\n").rename(p.folder / "t.csv")),
        ("no rows", "--data-format"),
    ),
    "a folder with a broken card": Case(
        lambda p: p.train(folder(p, train__csv=TABLE, README__md="---\nconfigs: [a: {b\n---\n")),
        ("not a readable file or folder", "Check the path"),
    ),
    "a folder with an odd card": Case(
        lambda p: p.train(folder(p, train__csv=TABLE, README__md="---\nconfigs: 7\n---\n")),
        ("not a readable file or folder", "Check the path"),
    ),
    "a folder with a card of names that are no files": Case(
        lambda p: p.train(
            folder(
                p,
                train__csv=TABLE,
                README__md="---\nconfigs:\n- config_name: a\n  data_files: nope/*.csv\n---\n",
            )
        ),
        ("not a readable file or folder", "Check the path"),
    ),
    "a folder with a damaged table": Case(
        lambda p: p.train(folder(p, train__parquet=b"PAR1")), ("Parquet file cannot be read",)
    ),
    "a folder with an unknown subset": Case(
        lambda p: p.train(folder(p, train__csv=TABLE), "--data-config", "none"),
        ("not a readable file or folder", "Check the path"),
    ),
    "a saved data set without its state": Case(
        lambda p: p.train(saved(p, "state.json", "")),
        ("saved data set cannot be read", "Save it again"),
    ),
    "a saved data set with an odd state": Case(
        lambda p: p.train(saved(p, "state.json", "[]")),
        ("saved data set cannot be read", "Save it again"),
    ),
    "a saved data set with an odd description": Case(
        lambda p: p.train(saved(p, "dataset_info.json", "[1]")),
        ("saved data set cannot be read", "Save it again"),
    ),
    "a saved data set whose rows are damaged": Case(
        lambda p: p.train(saved(p, "data-00000-of-00001.arrow", "x" * 400)),
        ("saved data set cannot be read", "Save it again"),
    ),
    "a saved set of parts that are not there": Case(
        lambda p: p.train(folder(p, dataset_dict__json='{"splits": ["train"]}')),
        ("saved data set cannot be read", "Save it again"),
    ),
    "a saved set of parts that is no set": Case(
        lambda p: p.train(folder(p, dataset_dict__json="7")),
        ("saved data set cannot be read", "Save it again"),
    ),
    # Addresses
    "nobody answers": Case(lambda p: p.train(NOWHERE), ("--data http", "cannot be read")),
    "an unknown protocol": Case(
        lambda p: p.train("gopher://host/t.csv"), ("gopher", "cannot be opened")
    ),
    "an address without a host": Case(
        lambda p: p.train("http:///t.csv"), ("--data http", "cannot be read")
    ),
    "an address that is none": Case(lambda p: p.train("http://[::1/t.csv"), ("no address",)),
    "an address of a file that is not there": Case(
        lambda p: p.train("file:///none/t.csv"), ("file:///none/t.csv", "cannot be read")
    ),
    "memory that holds nothing": Case(
        lambda p: p.train("memory://none/t.csv"), ("memory://none/t.csv", "cannot be read")
    ),
    "an odd chain of addresses": Case(
        lambda p: p.train("zip://t.csv::/none.zip"), ("zip://t.csv::/none.zip", "cannot be read")
    ),
    "a password in the address": Case(
        lambda p: p.train("https://ada:secret@host/t.csv"), ("AWS_ACCESS_KEY_ID",)
    ),
    "a signature in the address": Case(
        lambda p: p.train("https://host/t.csv?X-Amz-Signature=abc"), ("AWS_ACCESS_KEY_ID",)
    ),
    # Containers
    "a workbook": file(
        "t.xlsx", zipped(("[Content_Types].xml", "<x/>")), words=("workbook", "csv")
    ),
    "an old workbook": file(
        "t.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), words=("workbook", "csv")
    ),
    "a PDF": file("t.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", words=("--data-encoding",)),
    "a picture": file(
        "t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", words=("no text", "--data-encoding")
    ),
    "two tables in a zip": file(
        "t.zip", zipped(("a.csv", TABLE), ("b.csv", TABLE)), words=("--data-member",)
    ),
    "no table in a zip": file("t.zip", zipped(("a.md", "hello")), words=("--data-member",)),
    "an empty zip": file("t.zip", zipped(), words=("--data-member",)),
    "a zip that is cut": file(
        "t.zip", zipped(("t.csv", TABLE))[:-40], words=("zip file cannot be read", "unpack it")
    ),
    "a zip that is damaged": file(
        "t.zip",
        flipped(zipped(("t.csv", TABLE)), 0.2),
        words=("zip file cannot be read", "unpack it"),
    ),
    "a zip with a password": file("t.zip", encrypted(), words=("encrypted", "unpack it")),
    "a zip of an unknown kind": file(
        "t.zip", wrong_method(), words=("zip file cannot be read", "unpack it")
    ),
    "an unknown member": file(
        "t.zip",
        zipped(("t.csv", TABLE)),
        "--data-member",
        "none.csv",
        words=("no member 'none.csv'", "t.csv"),
    ),
    "a member of a table": file(
        "t.csv", TABLE, "--data-member", "none.csv", words=("--data-member",)
    ),
    "a zip in a zip": file(
        "t.zip", zipped(("t.csv", zipped(("t.csv", TABLE)))), words=("no text", "--data-encoding")
    ),
    "a gzip that is cut": file(
        "t.csv.gz",
        gzip.compress(TABLE.encode())[:-12],
        words=("gzip file cannot be read", "unpack it"),
    ),
    "a gzip that is damaged": file(
        "t.csv.gz",
        flipped(gzip.compress(TABLE.encode()), 0.5),
        words=("gzip file cannot be read", "unpack it"),
    ),
    "the start of a gzip": file(
        "t.csv.gz", b"\x1f\x8b", words=("gzip file cannot be read", "unpack it")
    ),
    "an xz that is damaged": file(
        "t.csv.xz",
        flipped(lzma.compress(TABLE.encode()), 0.5),
        words=("xz file cannot be read", "unpack it"),
    ),
    "an xz that is cut": file(
        "t.csv.xz",
        lzma.compress(TABLE.encode())[:-12],
        words=("xz file cannot be read", "unpack it"),
    ),
    "a bzip2 that is damaged": file(
        "t.csv.bz2",
        flipped(bz2.compress(TABLE.encode()), 0.5),
        words=("bzip2 file cannot be read", "unpack it"),
    ),
    "a bzip2 that is cut": file(
        "t.csv.bz2",
        bz2.compress(TABLE.encode())[:-12],
        words=("bzip2 file cannot be read", "unpack it"),
    ),
    "zstd": file("t.csv.zst", b"\x28\xb5\x2f\xfd" + bytes(20), words=("zstd", "gzip")),
    "a tar that is cut": file(
        "t.tar",
        tarred(("t.csv", TABLE.encode()))[:700],
        words=("tar file cannot be read", "unpack it"),
    ),
    "a tar of notes": file("t.tar", tarred(("t.md", b"hello")), words=("--data-member",)),
    "a tar with a damaged head": file(
        "t.tar",
        flipped(tarred(("t.csv", TABLE.encode())), 0.001),
        words=("tar file cannot be read", "unpack it"),
    ),
    # Text
    "another encoding than the named one": file(
        "t.csv",
        TABLE.replace("Where", "Où").encode("latin-1"),
        "--data-encoding",
        "utf-8",
        words=("--data-encoding utf-8",),
    ),
    "an unknown encoding": file(
        "t.csv", TABLE, "--data-encoding", "utf-9", words=("--data-encoding utf-9",)
    ),
    "an encoding that is none": file(
        "t.csv", TABLE, "--data-encoding", "hex", words=("--data-encoding hex",)
    ),
    "an encoding that always fails": file(
        "t.csv", TABLE, "--data-encoding", "undefined", words=("--data-encoding undefined",)
    ),
    "an encoding of escapes": file(
        "t.csv",
        TABLE + "\\u12",
        "--data-encoding",
        "unicode_escape",
        words=("--data-encoding unicode_escape",),
    ),
    "half a character": file(
        "t.csv", TABLE.encode("utf-16")[:-1], words=("--data-encoding utf-16",)
    ),
    "UTF-16 without a mark": file(
        "t.csv", TABLE.encode("utf-16-le"), words=("no text", "--data-encoding")
    ),
    "noise": file("t.csv", bytes(range(256)) * 9, words=("no text", "--data-encoding")),
    "NUL": file("t.csv", "a\0b", words=("no text", "--data-encoding")),
    # Tables of text
    "two columns of one name": file(
        "t.csv", TABLE.replace("label", "question", 1), words=("'question'", "rename")
    ),
    "lines of other lengths": file(
        "t.csv", "a,b\n" + "1,2,3\n4\n" * 9, words=("--data-separator",)
    ),
    "a line of another length": file(
        "t.csv", TABLE + "one,two,three,four\n", words=("line 32 has 4 cells", "--skip-bad-rows")
    ),
    "a mark that is not closed": file(
        "t.csv", TABLE + '"open,[],0\n', "--data-quotes", "double", words=("--data-quotes none",)
    ),
    "two separators": file("t.csv", TABLE, "--data-separator", ";;", words=("--data-separator",)),
    "no separator": file("t.csv", TABLE, "--data-separator", "", words=("--data-separator",)),
    "a line break as separator": file(
        "t.csv", TABLE, "--data-separator", "\n", words=("--data-separator",)
    ),
    "a quotation mark as separator": file(
        "t.csv", TABLE, "--data-separator", '"', words=("--data-separator",)
    ),
    "separators alone": file("t.csv", ",,,\n,,,\n", words=("no rows",)),
    "a word in place of yes": file(
        "t.csv", TABLE, "--data-header", "maybe", words=("--data-header maybe",)
    ),
    "a word in place of a style": file(
        "t.csv", TABLE, "--data-quotes", "single", words=("--data-quotes single", "double or none")
    ),
    "an unknown format": file(
        "t.csv", TABLE, "--data-format", "xml", words=("--data-format xml", "parquet")
    ),
    "a table as JSON": file(
        "t.csv", TABLE, "--data-format", "json", words=("not JSON", "Correct the file")
    ),
    "a table as Parquet": file(
        "t.csv", TABLE, "--data-format", "parquet", words=("Parquet file cannot be read",)
    ),
    "Parquet as a table": file(
        "t.parquet", good_parquet(), "--data-format", "csv", words=("no text", "--data-encoding")
    ),
    # JSON
    "JSON that is cut": file("t.json", '[{"question": "a"', words=("no rows", "--data-format")),
    "JSON that is no JSON": file("t.json", "{nope", words=("not JSON", "Correct the file")),
    "a broken line": file(
        "t.jsonl", LINES + "{nope\n", words=("line 31 is not JSON", "--skip-bad-rows")
    ),
    "a number": file("t.json", "42", words=("no rows", "--data-format")),
    "a text": file("t.json", '"text"', words=("no rows", "--data-format")),
    "null": file("t.json", "null", words=("no rows", "--data-format")),
    "an empty list": file("t.json", "[]", words=("no rows", "--data-format")),
    "an empty object": file("t.json", "{}", words=("--choices-col",)),
    "lists": file(
        "t.json", json.dumps([[1, 2], [3, 4]] * 9), words=("not an object", "correct or remove")
    ),
    "lines of lists": file("t.jsonl", "[1, 2]\n" * 9, words=("not JSON", "Correct the file")),
    "lines of numbers": file("t.jsonl", "1\n2\n" * 9, words=("--choices-col",)),
    "brackets without end": file("t.json", "[" * 100_000, words=("no rows", "--data-format")),
    "objects without end": file(
        "t.json", '{"a":' * 100_000 + "1" + "}" * 100_000, words=("not JSON", "Correct the file")
    ),
    "a line of objects without end": file(
        "t.jsonl",
        LINES + '{"a":' * 9999 + "1" + "}" * 9999 + "\n",
        words=("line 31 is not JSON", "--skip-bad-rows"),
    ),
    "a number of 9,000 digits": file(
        "t.json",
        json.dumps(rows(question="?")).replace('"?"', "9" * 9000),
        words=("not JSON", "Correct the file"),
    ),
    "a line with a number of 9,000 digits": file(
        "t.jsonl",
        LINES + '{"question": ' + "9" * 9000 + "}\n",
        words=("line 31 is not JSON", "--skip-bad-rows"),
    ),
    "two lists of rows": file(
        "t.json", json.dumps({"a": rows(), "b": rows()}), words=("--data-rows",)
    ),
    "rows at another path": file(
        "t.json", json.dumps({"a": rows()}), "--data-rows", "a.b", words=("--data-rows",)
    ),
    "rows at an empty path": file(
        "t.json", json.dumps({"a": rows()}), "--data-rows", "", words=("--data-rows",)
    ),
    "a path of a number": file(
        "t.json", json.dumps({"a": 7}), "--data-rows", "a", words=("--data-rows",)
    ),
    # Parquet
    "Parquet that is cut": file(
        "t.parquet", good_parquet()[:-30], words=("Parquet file cannot be read",)
    ),
    "the start of Parquet": file("t.parquet", b"PAR1", words=("Parquet file cannot be read",)),
    "Parquet whose footer is damaged": file(
        "t.parquet", flipped(good_parquet(), 0.9), words=("Parquet file cannot be read",)
    ),
    "Parquet whose pages are damaged": file(
        "t.parquet", flipped(good_parquet(), 0.05), words=("Parquet file cannot be read",)
    ),
    "Parquet without rows": file(
        "t.parquet",
        parquet({"question": pa.array([], "string")}),
        words=("no rows", "--data-format"),
    ),
    "Parquet without columns": file("t.parquet", parquet({}), words=("no rows", "--data-format")),
    "Parquet of bytes": file(
        "t.parquet",
        parquet({"question": [b"a\xff"] * 9, "choices": [["a", "b"]] * 9, "label": [0] * 9}),
        words=("--question-col",),
    ),
    "Parquet of numbers": file(
        "t.parquet",
        parquet(
            {
                "question": [decimal.Decimal("1.5")] * 9,
                "choices": [["a", "b"]] * 9,
                "label": [0] * 9,
            }
        ),
        words=("--question-col",),
    ),
    "Parquet of times": file(
        "t.parquet",
        parquet(
            {
                "question": [datetime.datetime(2024, 1, 1)] * 9,
                "choices": [["a", "b"]] * 9,
                "label": [0] * 9,
            }
        ),
        words=("--question-col",),
    ),
    "Parquet of times in nanoseconds": file(
        "t.parquet",
        parquet(
            {
                "question": pa.array([1] * 9, "timestamp[ns]"),
                "choices": [["a", "b"]] * 9,
                "label": [0] * 9,
            }
        ),
        words=("--question-col",),
    ),
    "Parquet of a time zone that is none": file(
        "t.parquet",
        parquet(
            {
                "question": pa.array([1] * 9, pa.timestamp("us", "Mars/Base")),
                "choices": [["a", "b"]] * 9,
                "label": [0] * 9,
            }
        ),
        words=("Parquet file cannot be read",),
    ),
    # Items
    "no question": items(rows(question=None), words=("row 3",)),
    "an empty question": items(rows(question=""), words=("row 3",)),
    "a blank question": items(rows(question=" \n"), words=("row 3",)),
    "half a pair of a question": items(rows(question="\ud800 where?"), words=("row 3",)),
    "half a pair of a choice": items(rows(choices=["a\udfff", "b"]), words=("row 3",)),
    "a question longer than the window": items(
        rows(question="heron " * 2000), words=("row-3", "context window of 1024")
    ),
    "a question that is a list": items(rows(question=["a"]), words=("--question-col",)),
    "a question that is an object": items(rows(question={"a": 1}), words=("row 3",)),
    "no choices": items(rows(choices=None), words=("row 3",)),
    "an empty list of choices": items(rows(choices=[]), words=("row 3",)),
    "one choice": items(rows(choices=["a"]), words=("row 3",)),
    "choices that are one text": items(rows(choices="a b"), words=("row 3",)),
    "choices that are numbers": items(rows(choices=7), words=("row 3",)),
    "choices that are lists": items(rows(choices=[["a"], ["b"]]), words=("row 3",)),
    "an empty choice": items(rows(choices=["a", ""]), words=("row 3",)),
    "the same choice twice": items(rows(choices=["a", "a"]), words=("row 3",)),
    "more choices than letters": items(
        rows(choices=[f"c {i}" for i in range(40)]), "--scoring", "letter", words=("row 3", "26")
    ),
    "no label": items(rows(label=None), words=("row 3",)),
    "a label out of range": items(rows(label=2), words=("row 3",)),
    "a label below 0": items(rows(label=-1), words=("row 3",)),
    "a label beyond all numbers": items(rows(label=10**30), words=("row 3",)),
    "a label that is half": items(rows(label=0.5), words=("row 3",)),
    "a label that is no number": items(rows(label=float("nan")), words=("row 3",)),
    "a label in words": items(rows(label="the first"), words=("row 3",)),
    "a row that is empty": items([*rows()[:5], {}, *rows()[5:]], words=("row 6",)),
    "one row": items(rows()[:1], words=("at least 5 items",)),
    "four rows": items(rows()[:4], words=("at least 5 items",)),
    "one group": items(every_row(topic="one"), "--group-col", "topic", words=("--group-col",)),
    "the same id twice": items(
        every_row(id="one"), "--id-col", "id", words=("row 2", "used by row 1")
    ),
    "an id that is an object": items(
        every_row(id={"a": 1}), "--id-col", "id", words=("row 1", "not a text")
    ),
    "an id with half a pair": items(
        [r | {"id": f"{i}"} for i, r in enumerate(rows())][:-1] + [ROW | {"id": "\ud800"}],
        "--id-col",
        "id",
        words=("row 30", "half a character"),
    ),
    "too few rows that are good": items(
        [*rows(), *[{"question": 1}] * 20], "--skip-bad-rows", words=("--max-bad-rows",)
    ),
    "no good row": items([{"question": None}] * 20, "--skip-bad-rows", words=("--choices-col",)),
    "a share of bad rows beyond 1": items(rows(), "--max-bad-rows", "2", words=("--max-bad-rows",)),
    "an unknown part": items(rows(), "--data-split", "train", words=("no split 'train'",)),
    "labels for other rows": Case(
        lambda p: p.train(
            p.lines(*[{k: v for k, v in r.items() if k != "label"} for r in rows()]),
            "--data-labels",
            p.write("labels.txt", "0\n1\n"),
        ),
        ("--data-labels", "2 labels for 30 rows"),
    ),
    "labels beside labels": Case(
        lambda p: p.train(p.lines(*rows()), "--data-labels", p.write("labels.txt", "0\n" * 30)),
        ("--data-labels", "remove the option"),
    ),
    "no file of labels": Case(
        lambda p: p.train(p.lines(*rows()), "--data-labels", p.folder / "none.txt"),
        ("no such file or folder",),
    ),
    "labels that are no text": Case(
        lambda p: p.train(p.lines(*rows()), "--data-labels", p.write("labels.txt", b"\xff\n" * 30)),
        ("--data-labels", "cannot be read"),
    ),
}
