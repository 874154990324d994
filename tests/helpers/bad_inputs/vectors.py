"""Registered vectors: references, damaged files, prompts and conversations."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tests.helpers.bad_inputs.case import NAME, Case, Place

TEXT = "Where does the heron"


def of(reference: str, words: tuple[str, ...], *command: str) -> Case:
    return Case(
        lambda p: [*(command or ("steer",)), reference, *(() if command else (TEXT,))], words
    )


def steering(words: tuple[str, ...], **fields: object) -> Case:
    """The vector's steering.json with other fields; Ellipsis removes one."""

    def command(p: Place) -> Sequence[object]:
        file = next(p.home.rglob("steering.json"))
        held = json.loads(file.read_text()) | fields
        file.write_text(json.dumps({k: v for k, v in held.items() if v is not ...}))
        return ["steer", NAME, TEXT]

    return Case(command, words)


def weights(content: bytes, words: tuple[str, ...] = ("vector.safetensors",)) -> Case:
    def command(p: Place) -> Sequence[object]:
        next(p.home.rglob("vector.safetensors")).write_bytes(content)
        return ["steer", NAME, TEXT]

    return Case(command, words)


def damaged(
    name: str, damage: Callable[[Path], object], *command: str, words: tuple[str, ...]
) -> Case:
    def made(p: Place) -> Sequence[object]:
        damage(next(p.home.rglob(name)))
        return command or ("steer", NAME, TEXT)

    return Case(made, words)


def said(prompt: str, words: tuple[str, ...], *options: object) -> Case:
    return Case(lambda p: ["steer", NAME, prompt, "--max-new-tokens", "2", *options], words)


def talk(content: object, words: tuple[str, ...]) -> Case:
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    return Case(lambda p: ["steer", NAME, "--messages", p.write("talk.json", text)], words)


def tensor(array: np.ndarray, name: str = "direction") -> bytes:
    return save({name: array})


FLAT = np.ones(48, np.float32)
CASES: dict[str, Case] = {
    # References
    "an unknown name": of("pas-none", ("pas-none", NAME)),
    "no name": of("", ("NAME@alias",)),
    "a name that is an alias": of("@champion", ("NAME@alias",)),
    "a path": of("../../etc", ("NAME@alias",)),
    "an address": of("models:/x/1", ("NAME@alias",)),
    "two aliases": of(f"{NAME}@a@b", ("NAME@alias",)),
    "an alias and a version": of(f"{NAME}@a:1", ("NAME@alias",)),
    "an unknown alias": of(f"{NAME}@champion", ("champion", "@candidate")),
    "an alias of an injection": of(f"{NAME}@x' or '1'='1", ("alias",)),
    "a name of an injection": of("x' or name like '%", ("x' or",)),
    "a name with a quotation mark": of("it's", ("it's",)),
    "an unknown version": of(f"{NAME}:99", ("99", "it has 1")),
    "a version of 0": of(f"{NAME}:0", ("0",)),
    "a version beyond all numbers": of(f"{NAME}:{'9' * 30}", ("NAME:version",)),
    "a version of 9,000 digits": of(f"{NAME}:{'9' * 9000}", ("version",)),
    "a version in words": of(f"{NAME}:one", ("NAME:version",)),
    "a version below 0": of(f"{NAME}:-1", ("NAME:version",)),
    "a version in other digits": of(f"{NAME}:١", ("version",)),
    "a name with half a character": of("pas-\udcff", ("UTF-8",)),
    "an endless name": of("x" * 5000, ("no such name",)),
    "an endless name to calibrate": of("x" * 5000, ("no such name",), "calibrate"),
    "no name to calibrate": of("", ("NAME@alias",), "calibrate"),
    "an endless name to read": Case(lambda p: ["read", "x" * 5000, TEXT], ("no such name",)),
    "promoting nothing": of("pas-none", ("pas-none",), "promote"),
    "promoting an unknown version": Case(lambda p: ["promote", NAME, "--version", "9"], ("9",)),
    "promoting a version below 0": Case(lambda p: ["promote", NAME, "--version=-1"], ("-1",)),
    "promoting a version in words": Case(
        lambda p: ["promote", NAME, "--version", "one"], ("--version",)
    ),
    "promoting a version beyond all numbers": Case(
        lambda p: ["promote", NAME, "--version", str(10**40)], ("version",)
    ),
    "accepting without a reason": Case(
        lambda p: ["promote", NAME, "--accept", "damaging"], ("--reason",)
    ),
    "accepting an unknown finding": Case(
        lambda p: ["promote", NAME, "--accept", "luck", "--reason", "x"], ("luck",)
    ),
    "a reason for nothing": Case(lambda p: ["promote", NAME, "--reason", "x"], ("--accept",)),
    "rolling nothing back": of("pas-none", ("pas-none",), "rollback"),
    "rolling back without a champion": of(NAME, (NAME,), "rollback"),
    "listing nothing": of("pas-none", ("pas-none",), "vectors"),
    "watching nothing": Case(lambda p: ["watch", "pas-none", "--data", p.toy()], ("pas-none",)),
    "watching without data": of(NAME, ("--data",), "watch"),
    "watching without a champion": Case(
        lambda p: ["watch", NAME, "--data", p.toy()], ("champion",)
    ),
    # Files of a vector
    "no steering.json": damaged("steering.json", Path.unlink, words=("steering.json",)),
    "an empty steering.json": damaged(
        "steering.json", lambda f: f.write_text(""), words=("steering.json", "JSON")
    ),
    "a steering.json that is a list": damaged(
        "steering.json", lambda f: f.write_text("[]"), words=("steering.json",)
    ),
    "a steering.json without end": damaged(
        "steering.json", lambda f: f.write_text("[" * 9000), words=("steering.json",)
    ),
    "a steering.json that is no text": damaged(
        "steering.json", lambda f: f.write_bytes(b"\xff\xfe\xff"), words=("steering.json",)
    ),
    "a folder in place of steering.json": damaged(
        "steering.json", lambda f: (f.unlink(), f.mkdir()), words=("steering.json",)
    ),
    "a schema of tomorrow": steering(("schema 99", "update"), schema=99),
    "a schema that is a text": steering(("schema",), schema="1"),
    "no layer": steering(("layer",), layer=...),
    "a layer in words": steering(("layer",), layer="one"),
    "a layer that is true": steering(("layer",), layer=True),
    "a layer below 0": steering(("layer",), layer=-1),
    "another layer": steering(("artifacts",), layer=2),
    "a layer that the model lacks": steering(("artifacts",), layer=99),
    "a strength in words": steering(("strength",), strength="2"),
    "a strength that is no number": steering(("strength",), strength=float("nan")),
    "a strength beyond all numbers": steering(("strength",), strength=10**400),
    "another strength": steering(("artifacts",), strength=77.0),
    "a site that is none": steering(("site",), site="head"),
    "a model that is a text": steering(("model",), model="demo"),
    "a model without a name": steering(("model",), model={}),
    "a model with code": steering(
        ("artifacts",), model={"id": "/somewhere/else", "trust_remote_code": True}
    ),
    "an unknown field": steering(("unknown",), extra=1),
    "a style that is none": steering(("prompt",), prompt={"kind": "html"}),
    "a checksum that is another": steering(("vector.safetensors",), sha256="0" * 64),
    "a checksum that is a number": steering(("sha256",), sha256=1),
    "no weights": damaged("vector.safetensors", Path.unlink, words=("vector.safetensors",)),
    "empty weights": weights(b""),
    "weights that are text": weights(b"hello, this is no tensor"),
    "weights that are a pickle": weights(b"\x80\x04cos\nsystem\n."),
    "weights of another name": weights(tensor(FLAT, "vector")),
    "weights of another shape": weights(tensor(FLAT.reshape(6, 8))),
    "weights of another dtype": weights(tensor(FLAT.astype(np.float64))),
    "weights of another width": weights(tensor(FLAT[:7])),
    "weights that are not finite": weights(tensor(FLAT * np.nan)),
    "other weights": weights(tensor(FLAT * 2)),
    "promoting a vector whose weights are others": damaged(
        "vector.safetensors",
        lambda f: f.write_bytes(tensor(FLAT)),
        "promote",
        NAME,
        words=("vector",),
    ),
    # Prompts
    "an empty prompt": said("", ("prompt is empty",)),
    "a blank prompt": said(" \n\t ", ("prompt is empty",)),
    "a prompt longer than the window": said("heron " * 3000, ("context window of 1024",)),
    "a prompt with half a character": said("a\udcffb", ("UTF-8",)),
    "a prompt with half an emoji": said("a\ud83db", ("UTF-8",)),
    "no prompt": Case(lambda p: ["steer", NAME], ("--messages",)),
    "a strength of nan": said(TEXT, ("strength nan",), "--strength", "nan"),
    "a strength of inf": said(TEXT, ("strength inf",), "--strength", "inf"),
    "a strength that overflows": said(TEXT, ("strength",), "--strength", "1e38"),
    "a strength beyond float32": said(TEXT, ("strength",), "--strength", "1e300"),
    "no tokens": said(TEXT, ("--max-new-tokens",), "--max-new-tokens", "0"),
    "a conversation with a model without chat": talk(
        [{"role": "user", "content": "hello"}], ("chat template",)
    ),
    "a conversation of nothing": talk([], ("talk.json", "role and content")),
    "a conversation that is an object": talk({}, ("talk.json", "role and content")),
    "a conversation of texts": talk(["hello"], ("message 1",)),
    "a conversation without roles": talk([{"content": "a"}], ("message 1",)),
    "a conversation whose content is a number": talk(
        [{"role": "user", "content": 7}], ("message 1",)
    ),
    "a conversation that the assistant ends": talk(
        [{"role": "assistant", "content": "a"}], ("assistant",)
    ),
    "a conversation that is no JSON": talk("{nope", ("talk.json", "JSON")),
    "a conversation that is no text": talk(b"\xff\xfe\xff", ("talk.json",)),
    "a conversation without end": talk("[" * 9000, ("talk.json",)),
    "a conversation of a number without end": talk("9" * 9000, ("talk.json",)),
    "a conversation with half a character": talk(
        [{"role": "user", "content": "a\ud800"}], ("chat template",)
    ),
    "no file of a conversation": Case(
        lambda p: ["steer", NAME, "--messages", p.folder / "none.json"], ("none.json",)
    ),
}
# What is in fact good: the answer is text, with exit code 0.
GOOD = {
    "right to left": "أين ينام مالك الحزين؟ שלום",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 eats",
    "marks": "e\u0301\u0302\u0303" * 20,
    "control characters": "a\x01\x02\x1b[31m\x7f\x85 b",
    "line breaks": "a\r\nb\rc\u2028d",
    "no-break spaces and joiners": "a\u00a0\u200b\u200d\ufeffb",
    "the last planes": "\U0001f9a2\U000e0041\U0010fffd",
    "square brackets": "[bold]x[/bold] [/]",
    "an option": "--layers",
    "a start token": "<s> Where",
    "percent and braces": "%s {0} {} $HOME `id`",
}
