"""The fingerprint follows what a model computes, and nothing else."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pas.models.fingerprint import fingerprint
from pas.models.spec import ModelSpec
from tests.helpers.tiny_models import save_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "llama")


def fingerprint_of(folder: Path, **changes: str) -> str:
    spec = replace(ModelSpec(str(folder), device="cpu"), **changes)
    return fingerprint(spec, folder.parent / "cache")


def change_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][0] += 1
    save_file(weights, path, metadata={"format": "pt"})


def change_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 1e-3}))


def change_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")


def change_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")


def replace_weights_with_the_same_size_and_time(folder: Path) -> None:
    """As `rsync -a` and `cp -p` do it."""
    path, other = folder / "model.safetensors", folder / "other"
    before = path.stat()
    shutil.copy(path, other)
    change_weights_in_place(other)
    os.replace(other, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def change_weights_in_place(path: Path) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite_weights_with_the_same_size_and_time(folder: Path) -> None:
    change_weights_in_place(folder / "model.safetensors")


def change_chat_template_of_older_versions(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "{{ 1 }}"}))


@pytest.mark.parametrize(
    "change",
    [
        change_weights,
        change_config,
        change_tokenizer,
        change_chat_template,
        change_chat_template_of_older_versions,
        replace_weights_with_the_same_size_and_time,
        overwrite_weights_with_the_same_size_and_time,
    ],
)
def test_the_fingerprint_follows_the_files(folder: Path, change: Callable[[Path], None]) -> None:
    copy = Path(shutil.copytree(folder, folder.parent / "copy"))
    before = fingerprint_of(folder)
    assert len(before) == 32 and int(before, 16)
    assert fingerprint_of(copy) == before
    change(copy)
    assert fingerprint_of(copy) != before
    assert fingerprint_of(folder) == before


def test_the_fingerprint_follows_the_spec_but_not_the_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [{}, {"dtype": "bfloat16"}, {"dtype": "float16"}, {"quantization": "4bit"},
             {"quantization": "8bit"}, {"revision": "v2"}]  # fmt: skip
    assert len({fingerprint_of(folder, **s) for s in specs}) == len(specs)
    assert fingerprint_of(folder, dtype="float32") == fingerprint_of(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # "auto" is then the CPU
    assert fingerprint_of(folder, device="auto") == fingerprint_of(folder)


def test_a_tokenizer_saved_offline_is_the_same_tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    saved = {}
    for offline in (False, True):
        copy = Path(shutil.copytree(folder, folder.parent / f"offline-{offline}"))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=offline)
        tokenizer.save_pretrained(copy)
        saved[offline] = (copy / "tokenizer_config.json").read_text()
    assert saved[False] != saved[True], "transformers no longer keeps the option"
    one, other = (fingerprint_of(folder.parent / f"offline-{offline}") for offline in saved)
    assert one == other
    change_chat_template_of_older_versions(folder.parent / "offline-True")
    assert fingerprint_of(folder.parent / "offline-True") != one
