"""Labelled data in the shapes that people have, made up here: one file each, and what comes of it.

The table in docs/data.md is printed from them: python -m tests.helpers.shapes
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pas.errors import UserError
from pas.reading import take_in
from pas.recipe import Recipe


class Item(NamedTuple):
    question: str
    choices: tuple[str, ...]
    gold: int

    @property
    def answer(self) -> str:
        return self.choices[self.gold]

    @property
    def wrong(self) -> list[str]:
        return [c for c in self.choices if c != self.answer]


_FACTS = (
    ("Which of them can fly?", ("a stone", "a heron", "a chair")),
    ("What keeps rain off?", ("an umbrella", "a fork", "a sieve")),
    ("Where do fish live?", ("in trees", "in sand", "in water")),
    ("What is sour?", ("honey", "a lemon", "bread")),
    ("What opens a lock?", ("a key", "a spoon", "a feather")),
    ("Which is a metal?", ("oak", "wool", "iron")),
    ("What tells the time?", ("a pillow", "a clock", "a rope")),
    ("What burns?", ("paper", "ice", "slate")),
    ("Which animal barks?", ("a cow", "a hen", "a dog")),
    ("What is round?", ("a brick", "a ball", "a plank")),
    ("What grows in soil?", ("wheat", "glass", "salt")),
    ("What is worn on feet?", ("a hat", "a scarf", "a boot")),
)
_GOLD = (1, 0, 2) * 4
ITEMS = tuple(Item(q, c, g) for (q, c), g in zip(_FACTS, _GOLD, strict=True))
PAIRS = tuple(Item(i.question, (i.answer, i.wrong[0]), 0) for i in ITEMS)
YES_NO = tuple(
    Item(f"Is {i.choices[0]} the answer to: {i.question}", ("yes", "no"), int(i.gold != 0))
    for i in ITEMS
)


THREE = ("yes", "no", "maybe")


def lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def document(value: Any) -> bytes:
    return json.dumps(value).encode()


def table(
    header: Sequence[str] | None, rows: Iterable[Sequence[Any]], separator: str = ",", **how: Any
) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator="\n", **how)
    writer.writerows([header, *rows] if header else rows)
    return out.getvalue().encode()


def _jsonl(row: Callable[[Item], Any], items: Sequence[Item] = ITEMS) -> bytes:
    return lines(map(row, items))


def _plain(i: Item) -> dict[str, Any]:
    return {"question": i.question, "choices": list(i.choices), "label": i.gold}


def _wide(header: Sequence[str], label: Callable[[Item], Any], **how: Any) -> bytes:
    return table(header, ([i.question, *i.choices, label(i)] for i in ITEMS), **how)


def _letter(i: Item) -> str:
    return ascii_uppercase[i.gold]


def _zip(name: str, data: bytes, *others: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member in (name, *others, "README.md"):
            archive.writestr(member, data)
    return out.getvalue()


def _tar(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    rows = [
        {
            "question": {"stem": i.question},
            "choices": {"text": list(i.choices), "label": ["A", "B", "C"]},
            "answerKey": _letter(i),
        }
        for i in ITEMS
    ]
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def _inside(i: Item) -> str:
    options = "\n".join(f" ({a}) {c}" for a, c in zip("ABC", i.choices, strict=True))
    return f"{i.question}\n\nChoices:\n{options}\n\nAnswer:"


def _dialogue(i: Item, reply: str) -> str:
    return f"\n\nHuman: {i.question}\n\nAssistant: I think it is {reply}."


def _turns(i: Item, reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": i.question}, {"role": "assistant", "content": reply}]


@dataclass(frozen=True)
class Shape:
    """One way in which data comes.

    Attributes:
        about: What it is, for people.
        files: Content by name; one file is read itself, several as a folder.
        items: What comes out, or () if it is refused.
        options: What the user must say, by the flat names of a recipe.
        says: Words of the refusal.
        scoring: How choices are scored by default.
    """

    about: str
    files: dict[str, bytes]
    items: tuple[Item, ...] = ITEMS
    options: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    scoring: str = "letter"

    def write(self, folder: Path) -> Path:
        """Write the files, and return what to read."""
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        first, *others = [name for name in self.files if not name.endswith(".lst")]
        return folder if others or "/" in first else folder / first

    @property
    def line(self) -> str:
        """The beginning of the first file, for people."""
        name, data = next(iter(self.files.items()))
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return f"({name})"
        shown = text.strip().split("\n")[: 1 if text[0] in "[{" else 2]
        return " ⏎ ".join(line.strip() for line in shown)[:120]


def read(about: str, name: str, data: bytes, **facts: Any) -> Shape:
    return Shape(about, {name: data}, **facts)


def refused(about: str, name: str, data: bytes, *says: str, **options: str) -> Shape:
    return Shape(about, {name: data}, (), options, says)


_ABC = ("question", "A", "B", "C", "answer")
_LABELLED = [i for i in ITEMS if i.gold < 2]
_SHUFFLED = tuple(Item(i.question, (i.answer, *i.wrong), 0) for i in ITEMS)
_NUMBERS = [
    ("How many legs has a stool?", ["3", "5", "0"], 0),
    ("And a horse?", ["8", "4", "2"], 1),
] * 6

SHAPES: dict[str, Shape] = {
    # Lists
    "list, index": read("a list of choices, an index", "a.jsonl", _jsonl(_plain)),
    "list, letter": read(
        "a list, a letter", "a.jsonl", _jsonl(lambda i: _plain(i) | {"label": f"({_letter(i)})"})
    ),
    "list, text": read(
        "a list, the text",
        "a.json",
        document(
            [
                {"QUESTION": i.question, "OPTIONS": list(i.choices), "ANSWER": i.answer.upper()}
                for i in ITEMS
            ]
        ),
    ),
    "list, from one": read(
        "an index that counts from 1",
        "a.jsonl",
        _jsonl(lambda i: _plain(i) | {"label": i.gold + 1}),
    ),
    "list, label in a list": read(
        "each label is a list of one",
        "a.jsonl",
        _jsonl(lambda i: _plain(i) | {"label": [_letter(i)]}),
    ),
    "list, marks": read(
        "a mark for each choice",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "mc1_targets": {
                    "choices": list(i.choices),
                    "labels": [int(n == i.gold) for n in range(3)],
                },
            }
        ),
    ),
    "list, own letters": read(
        "the choices begin with letters of their own",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "options": [f"{a}. {c}" for a, c in zip("ABC", i.choices, strict=True)],
                "answer": _letter(i),
            }
        ),
    ),
    "list, own numbers": read(
        "the choices are numbered",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "options": [f"{n}) {c}" for n, c in enumerate(i.choices, 1)],
                "answer": i.answer,
            }
        ),
    ),
    "list in Python": read(
        "a list as pandas writes it",
        "a.csv",
        table(
            ("question", "choices", "label"),
            ([i.question, str(list(i.choices)), i.gold] for i in ITEMS),
        ),
    ),
    "list in NumPy": read(
        "an array as pandas writes it",
        "a.csv",
        table(
            ("question", "choices", "label"),
            ([i.question, "[" + "\n ".join(map(repr, i.choices)) + "]", i.gold] for i in ITEMS),
        ),
    ),
    "list in JSON": read(
        "a list in JSON inside a table",
        "a.csv",
        table(
            ("question", "choices", "label"),
            ([i.question, json.dumps(i.choices), i.gold] for i in ITEMS),
        ),
    ),
    # Objects
    "object": read(
        "an object of letters, unused ones null",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "options": dict(zip("ABC", i.choices, strict=True)) | {"D": None},
                "answer": _letter(i),
            }
        ),
    ),
    "object, lower case": read(
        "an object of small letters",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "options": dict(zip("abc", i.choices, strict=True)),
                "answer": _letter(i).lower(),
            }
        ),
    ),
    "objects": read(
        "a list of objects",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": {
                    "stem": i.question,
                    "choices": [
                        {"label": a, "text": c} for a, c in zip("ABC", i.choices, strict=True)
                    ],
                },
                "answerKey": _letter(i),
            }
        ),
    ),
    "key and value": read(
        "a list of keys and values",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "choices": [{"key": a, "value": c} for a, c in zip("ABC", i.choices, strict=True)],
                "answer": _letter(i),
            }
        ),
    ),
    "texts and labels": read(
        "a list of texts and one of names",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "choices": {"text": list(i.choices), "label": ["1", "2", "3"]},
                "answerKey": str(i.gold + 1),
            }
        ),
    ),
    "pairs": read(
        "a list of letters and texts",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "options": [[a, c] for a, c in zip("ABC", i.choices, strict=True)],
                "answer": _letter(i),
            }
        ),
    ),
    # Columns
    "columns, letter": read("one column for each choice", "a.csv", _wide(_ABC, _letter)),
    "columns, numbered": read(
        "numbered columns, labels from 1",
        "a.csv",
        _wide(("sentence", "option1", "option2", "option3", "answer"), lambda i: i.gold + 1),
    ),
    "columns, own names": read(
        "other names: opa, opb, opc and cop",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                **dict(zip(("opa", "opb", "opc"), i.choices, strict=True)),
                "cop": i.gold + 1,
            }
        ),
    ),
    "columns, float label": read(
        "labels such as 1.0",
        "a.csv",
        _wide(("question", "a", "b", "c", "label"), lambda i: float(i.gold)),
    ),
    "columns, column's name": read(
        "the label names the column",
        "a.csv",
        _wide(
            ("question", "choice_a", "choice_b", "choice_c", "label"),
            lambda i: f"choice_{ascii_lowercase[i.gold]}",
        ),
    ),
    "columns, filler": read(
        "n/a at the end stands for no choice",
        "a.csv",
        table(
            (*_ABC[:4], "D", "answer"), ([i.question, *i.choices, "n/a", _letter(i)] for i in ITEMS)
        ),
    ),
    "columns of numbers": read(
        "choices are numbers, the label is the number",
        "a.csv",
        table(("question", "a", "b", "c", "label"), ([q, *c, c[g]] for q, c, g in _NUMBERS)),
        items=tuple(Item(q, tuple(c), g) for q, c, g in _NUMBERS),
    ),
    "labels apart": Shape(
        "labels in a file of their own",
        {
            "a.jsonl": _jsonl(
                lambda i: {
                    "goal": i.question,
                    "sol1": i.choices[0],
                    "sol2": i.choices[1],
                    "sol3": i.choices[2],
                }
            ),
            "a.lst": "".join(f"{i.gold}\n" for i in ITEMS).encode(),
        },
        options={"data_labels": "a.lst"},
    ),
    # One text
    "lettered text": read(
        "one text with letters",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "Problem": i.question,
                "options": " , ".join(f"{a} ) {c}" for a, c in zip("abc", i.choices, strict=True)),
                "correct": _letter(i).lower(),
            }
        ),
    ),
    "lettered lines": read(
        "one text with lines of letters",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": i.question,
                "options": "\n".join(f"{a}. {c}" for a, c in zip("ABC", i.choices, strict=True)),
                "answer": _letter(i),
            }
        ),
    ),
    "separated text": read(
        "one text with separators",
        "a.csv",
        table(
            ("question", "options", "label"),
            ([i.question, " | ".join(i.choices), i.gold] for i in ITEMS),
        ),
    ),
    "inside the question": read(
        "lettered lines in the question",
        "a.jsonl",
        _jsonl(lambda i: {"question": _inside(i), "answer_matching_behavior": f" ({_letter(i)})"}),
    ),
    "inside, numbered": read(
        "numbered lines in the question",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": "\n".join(
                    [i.question, *(f"{n}. {c}" for n, c in enumerate(i.choices, 1))]
                ),
                "answer": i.gold + 1,
            }
        ),
    ),
    "inside, on one line": read(
        "letters in parentheses in the question",
        "a.jsonl",
        _jsonl(
            lambda i: {
                "question": " ".join(
                    [i.question, *(f"({a}) {c}" for a, c in zip("ABC", i.choices, strict=True))]
                ),
                "answer": _letter(i),
            }
        ),
    ),
    # Correct and incorrect
    "correct and incorrect": read(
        "the correct text and a list of others",
        "a.jsonl",
        _jsonl(lambda i: {"question": i.question, "correct": i.answer, "incorrect": i.wrong}),
        items=_SHUFFLED,
    ),
    "correct and distractors": read(
        "the correct text and columns of others",
        "a.csv",
        table(
            ("question", "distractor1", "distractor2", "correct_answer"),
            ([i.question, *i.wrong, i.answer] for i in ITEMS),
        ),
        items=_SHUFFLED,
    ),
    "correct and separated": read(
        "others in one text with separators",
        "a.csv",
        table(
            ("Question", "Best Answer", "Incorrect Answers"),
            ([i.question, i.answer, "; ".join(i.wrong)] for i in ITEMS),
        ),
        items=_SHUFFLED,
    ),
    "three answers in pairs": read(
        "two of three answers that all items share",
        "a.jsonl",
        lines(
            {"question": i.question, "correct": THREE[n % 3], "incorrect": THREE[(n + 1) % 3]}
            for n, i in enumerate(ITEMS)
        ),
        items=tuple(
            Item(i.question, (THREE[n % 3], THREE[(n + 1) % 3]), 0) for n, i in enumerate(ITEMS)
        ),
        scoring="choice",
    ),
    # Preferences
    "preferred dialogue": read(
        "two dialogues that begin alike",
        "a.jsonl",
        lines(
            {"chosen": _dialogue(i, i.choices[0]), "rejected": _dialogue(i, i.choices[1])}
            for i in PAIRS
        ),
        items=tuple(
            Item(
                f"Human: {i.question}\n\nAssistant:",
                tuple(f"I think it is {c}." for c in i.choices),
                0,
            )
            for i in PAIRS
        ),
        scoring="choice",
    ),
    "preferred reply": read(
        "a prompt and two replies",
        "a.jsonl",
        lines(
            {"prompt": i.question, "chosen": i.choices[0], "rejected": i.choices[1]} for i in PAIRS
        ),
        items=PAIRS,
        scoring="choice",
    ),
    "preferred conversation": read(
        "two conversations that begin alike",
        "a.jsonl",
        lines(
            {"chosen": _turns(i, i.choices[0]), "rejected": _turns(i, i.choices[1])} for i in PAIRS
        ),
        items=PAIRS,
        scoring="choice",
    ),
    "preferred turn": read(
        "a conversation and two last turns",
        "a.jsonl",
        lines(
            {
                "conversations": [{"from": "human", "value": i.question}],
                "chosen": {"from": "gpt", "value": i.choices[0]},
                "rejected": {"from": "gpt", "value": i.choices[1]},
            }
            for i in PAIRS
        ),
        items=PAIRS,
        scoring="choice",
    ),
    # Yes and no
    "booleans and columns": read(
        "true means the choice that says yes",
        "a.jsonl",
        lines(
            {"question": i.question, "no": "No", "yes": "Yes", "label": i.gold == 0} for i in YES_NO
        ),
        items=tuple(Item(i.question, ("Yes", "No"), i.gold) for i in YES_NO),
    ),
    "booleans alone": read(
        "booleans without choices, and a passage",
        "a.jsonl",
        lines(
            {"passage": f"Text {n}.", "question": f"{i.question}?", "answer": i.gold == 0}
            for n, i in enumerate(YES_NO)
        ),
        items=tuple(
            Item(f"Text {n}.\n{i.question}?", ("yes", "no"), i.gold) for n, i in enumerate(YES_NO)
        ),
    ),
    "matching or not": read(
        "two answers that all items share",
        "a.jsonl",
        lines(
            {
                "question": i.question,
                "answer_matching_behavior": f" {i.answer}",
                "answer_not_matching_behavior": f" {i.wrong[0]}",
            }
            for i in YES_NO
        ),
        items=YES_NO,
    ),
    "classes": read(
        "a text and its class",
        "a.csv",
        table(("text", "label"), ([i.question, i.gold] for i in YES_NO)),
        items=YES_NO,
        options={"fixed_choices": "yes,no"},
    ),
    "mapped classes": read(
        "classes with a meaning",
        "a.csv",
        table(("text", "label"), ([i.question, "neg" if i.gold else "pos"] for i in YES_NO)),
        items=YES_NO,
        options={"fixed_choices": "yes,no", "label_values": "pos=yes,neg=no"},
    ),
    # Rows
    "row each": read(
        "one row for each choice",
        "a.tsv",
        table(
            ("sentence", "question", "candidate", "right"),
            (
                ["Read this.", i.question, c, "yes" if c == i.answer else "no"]
                for i in ITEMS
                for c in i.choices
            ),
            "\t",
        ),
        items=tuple(Item(f"Read this.\n{i.question}", i.choices, i.gold) for i in ITEMS),
    ),
    "nested rows": read(
        "rows inside a document",
        "a.json",
        document(
            {
                "version": 2,
                "data": {
                    "examples": [
                        {"input": {"stem": i.question}, "choices": list(i.choices), "label": i.gold}
                        for i in ITEMS
                    ]
                },
            }
        ),
    ),
    "by id": read(
        "an object from id to record",
        "a.json",
        document({f"q{n}": _plain(i) for n, i in enumerate(ITEMS)}),
    ),
    "by column": read(
        "an object from column to list",
        "a.json",
        document({k: [_plain(i)[k] for i in ITEMS] for k in ("question", "choices", "label")}),
    ),
    "by column and row": read(
        "an object as pandas writes it",
        "a.json",
        document(
            {
                k: {str(n): _plain(i)[k] for n, i in enumerate(ITEMS)}
                for k in ("question", "choices", "label")
            }
        ),
    ),
    "under another ending": read("JSON lines in a .txt", "a.txt", _jsonl(_plain)),
    # Tables
    "no header": read(
        "a table without a header",
        "a.csv",
        table(None, ([i.question, *i.choices, _letter(i)] for i in ITEMS)),
    ),
    "semicolons": read(
        "semicolons, a byte-order mark, CRLF",
        "a.csv",
        b"\xef\xbb\xbf"
        + _wide(
            ("Frage", "Antwort A", "Antwort B", "Antwort C", "L\u00f6sung"), _letter, separator=";"
        ).replace(b"\n", b"\r\n"),
    ),
    "index column": read(
        "a data frame's index",
        "a.csv",
        table(("", *_ABC), ([n, i.question, *i.choices, _letter(i)] for n, i in enumerate(ITEMS))),
    ),
    "utf-16": read(
        "UTF-16, as a spreadsheet writes it",
        "a.txt",
        _wide(_ABC, _letter, separator="\t").decode().encode("utf-16"),
    ),
    "windows": read(
        "a Windows encoding, detected and told",
        "a.csv",
        table(
            ("question", "a", "b", "label"),
            (
                [f"O\u00f9 est le num\u00e9ro {n} ?", "ici m\u00eame", "l\u00e0-bas", n % 2]
                for n in range(12)
            ),
        )
        .decode()
        .encode("cp1252"),
        items=tuple(
            Item(f"O\u00f9 est le num\u00e9ro {n} ?", ("ici m\u00eame", "l\u00e0-bas"), n % 2)
            for n in range(12)
        ),
    ),
    "lone quotation mark": read(
        "a lone quotation mark is text",
        "a.tsv",
        b"question\ta\tb\tlabel\n"
        + b"".join(
            f"{chr(34) if n in (2, 7) else ''}Row {n}?\tfine\tno\t{n % 2}\n".encode()
            for n in range(12)
        ),
        items=tuple(
            Item(f"{chr(34) if n in (2, 7) else ''}Row {n}?", ("fine", "no"), n % 2)
            for n in range(12)
        ),
    ),
    "lines in cells": read(
        "cells with separators, marks and line breaks",
        "a.csv",
        table(_ABC, ([f'"{i.question}"\nsaid, who?', *i.choices, _letter(i)] for i in ITEMS)),
        items=tuple(i._replace(question=f'"{i.question}"\nsaid, who?') for i in ITEMS),
    ),
    "None and NA": read(
        "None and NA are words",
        "a.csv",
        table(
            ("question", "a", "b", "label"),
            ([f"Who won in {n}?", "None", "NA", n % 2] for n in range(12)),
        ),
        items=tuple(Item(f"Who won in {n}?", ("None", "NA"), n % 2) for n in range(12)),
    ),
    "told separator": read(
        "the separator in the first line, as spreadsheets write it",
        "a.csv",
        b"sep=;\n" + _wide(_ABC, _letter, separator=";"),
    ),
    # Containers
    "gzip": read("gzip", "a.jsonl.gz", gzip.compress(_jsonl(_plain))),
    "xz": read("xz", "a.jsonl.xz", lzma.compress(_jsonl(_plain))),
    "bzip2": read("bzip2", "a.csv.bz2", bz2.compress(_wide(_ABC, _letter))),
    "zip": read("a zip with one table", "a.zip", _zip("data/a.csv", _wide(_ABC, _letter))),
    "tar": read("a packed tar with one table", "a.tar.gz", _tar("a.csv", _wide(_ABC, _letter))),
    "Parquet": read("Parquet with nested columns", "a.parquet", _parquet()),
    "folder": Shape("a folder of one table", {"x/a.csv": _wide(_ABC, _letter)}),
    "splits": Shape(
        "a folder of splits", {"train.jsonl": _jsonl(_plain) * 2, "test.jsonl": _jsonl(_plain)}
    ),
    # Refused
    "doubtful passage": refused(
        "a text that the question may need",
        "a.jsonl",
        _jsonl(
            lambda i: _plain(i) | {"text": f"A long text about this: {i.question} And more of it."}
        ),
        "'text'",
        "--question-col",
    ),
    "wrong separator": refused(
        "lines before the table",
        "a.csv",
        b"Made by hand\n" + _wide(_ABC, _letter),
        "--data-separator",
    ),
    "binary": refused(
        "NUL characters",
        "a.csv",
        _wide(_ABC, _letter).replace(b"honey", b"ho\0ney"),
        "--data-encoding",
    ),
    "base unknown": refused(
        "labels 1 and 2 of three choices",
        "a.jsonl",
        _jsonl(lambda i: _plain(i) | {"label": i.gold + 1}, _LABELLED),
        "label-base",
        "0",
        "1",
    ),
    "two labels": refused(
        "two columns may be the label",
        "a.jsonl",
        _jsonl(lambda i: _plain(i) | {"answer": (i.gold + 1) % 3}),
        "'label'",
        "'answer'",
        "--label-col",
    ),
    "value or index": refused(
        "numbers as choices and as labels",
        "a.jsonl",
        lines(
            {"question": f"How many of {n}?", "choices": [1, 2, 3, 4, 5], "label": n % 4 + 1}
            for n in range(12)
        ),
        "two ways",
        "--label-kind text",
        "--label-kind index --label-base 0",
    ),
    "booleans and other choices": refused(
        "booleans, and choices that are not yes and no",
        "a.jsonl",
        lines(
            {"question": i.question, "choices": list(i.choices), "label": i.gold == 0}
            for i in PAIRS
        ),
        "boolean",
        "--label-values",
    ),
    "letters and numbers": refused(
        "labels of two kinds",
        "a.jsonl",
        lines(_plain(i) | {"label": _letter(i) if n % 3 else i.gold} for n, i in enumerate(ITEMS)),
        "row 1",
        "row 2",
    ),
    "good, bad and a label": refused(
        "the names and the label may contradict",
        "a.csv",
        table(("question", "good", "bad", "label"), ([i.question, *i.choices, 0] for i in PAIRS)),
        "--choices-col good,bad",
        "--correct-col good --incorrect-col bad",
    ),
    "classes without words": refused(
        "a text and a number",
        "a.csv",
        table(("text", "label"), ([i.question, i.gold] for i in YES_NO)),
        "--fixed-choices",
    ),
    "two lists": refused(
        "two lists of texts",
        "a.jsonl",
        lines(
            {"question": i.question, "tags": list(i.choices), "parts": i.wrong, "label": i.gold}
            for i in ITEMS
        ),
        "'tags'",
        "'parts'",
        "--choices-col",
    ),
    "bad row": refused(
        "one item has two equal choices",
        "a.jsonl",
        lines(
            _plain(i) | ({"choices": ["a", "a", "b"]} if n == 7 else {})
            for n, i in enumerate(ITEMS)
        ),
        "row 8",
        "two choices are the same text",
        "--skip-bad-rows",
    ),
    "several correct": refused(
        "an item has two correct answers",
        "a.jsonl",
        lines(
            _plain(i) | {"label": [_letter(i), "A"] if n == 3 else [_letter(i)]}
            for n, i in enumerate(ITEMS)
        ),
        "row 4",
        "2 choices are correct",
        "--skip-bad-rows",
    ),
    "inner gap": refused(
        "an empty choice between others",
        "a.csv",
        table(
            _ABC,
            (
                [i.question, i.choices[0], "" if n == 4 else i.choices[1], i.choices[2], _letter(i)]
                for n, i in enumerate(ITEMS)
            ),
        ),
        "row 5",
        "empty",
    ),
    "a cell too many": refused(
        "a cell more than the header has",
        "a.csv",
        _wide(_ABC, _letter).replace(b"What is sour?", b"What is sour, really?"),
        "line 5",
        "6 cells",
    ),
    "a cell too few": refused(
        "a cell less than the header has",
        "a.csv",
        _wide(_ABC, _letter).replace(b"honey,", b""),
        "line 5",
        "4 cells",
    ),
    "no labels": Shape(
        "a test split without labels",
        {"train.jsonl": _jsonl(_plain), "test.jsonl": _jsonl(lambda i: _plain(i) | {"label": -1})},
        (),
        {},
        ("test", "train", "--data-split"),
    ),
    "names twice": refused(
        "two columns of one name",
        "a.csv",
        _wide(("question", "a", "a", "b", "label"), _letter),
        "'a'",
        "--data-header no",
    ),
    "two lists of rows": refused(
        "rows at two places",
        "a.json",
        document({"train": [_plain(i) for i in ITEMS], "more": [_plain(i) for i in ITEMS]}),
        "train",
        "more",
        "--data-rows",
    ),
    "unknown encoding": refused(
        "an encoding that is not certain",
        "a.csv",
        table(
            ("question", "a", "b", "label"),
            (
                [
                    f"\u0414\u0430 \u0438\u043b\u0438 \u043d\u0435\u0442 {n}?",
                    "\u0434\u0430",
                    "\u043d\u0435\u0442",
                    n % 2,
                ]
                for n in range(12)
            ),
        )
        .decode()
        .encode("koi8-r"),
        "--data-encoding",
    ),
    "workbook": refused("a spreadsheet", "a.xlsx", _zip("[Content_Types].xml", b"<Types/>"), "csv"),
    "two tables in a zip": refused(
        "a zip with two tables",
        "a.zip",
        _zip("a.csv", _wide(_ABC, _letter), "b.csv"),
        "a.csv, b.csv",
        "--data-member",
    ),
}


def recipe_for(shape: Shape, folder: Path) -> Recipe:
    """Write a shape's files, and return the recipe that reads them."""
    options = dict(shape.options)
    if "data_labels" in options:
        options["data_labels"] = str(folder / options["data_labels"])
    return Recipe.read({"task": "own", "data": str(shape.write(folder))} | options)


def markdown() -> str:
    """Return the table of docs/data.md, from reading each shape."""
    rows = ["| shape | its beginning | what must be said | what comes out |", "|---|---|---|---|"]
    for shape in SHAPES.values():
        said = " ".join(f"`--{k.replace('_', '-')} {v}`" for k, v in shape.options.items())
        with tempfile.TemporaryDirectory() as folder:
            found = _found(recipe_for(shape, Path(folder)), folder)
        cells = (shape.about, f"`{shape.line}`", said or "nothing", *found)
        plain = (c.replace("|", "\\|").replace("\n", " ") for c in cells)
        rows.append(f"| {' | '.join(plain)} |")
    return "\n".join(rows) + "\n"


def _found(recipe: Recipe, folder: str) -> tuple[str]:
    """Read the data; return the mapping and the first item, or the refusal."""
    try:
        taken = take_in(recipe)
    except UserError as error:
        text = re.sub(rf"--data {re.escape(folder)}/?\S*?(, split \w+)?: ", "", str(error), count=1)
        return (f"refused: {text.replace(folder + '/', '')[:260]}",)
    assert taken.mapping is not None
    mapping = yaml.safe_dump(
        {k: v for k, v in taken.mapping.given().items() if v is not False},
        default_flow_style=True, allow_unicode=True, width=1000, sort_keys=False,
    ).strip()  # fmt: skip
    first = taken.examples[0]
    item = f"{first.question} ({', '.join(first.choices)}): **{first.choices[first.label]}**"
    return (f"`{mapping}` {item}",)


if __name__ == "__main__":
    sys.stdout.write(markdown())
