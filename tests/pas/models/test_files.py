"""Which files of a folder are a model's weights."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from pas.errors import UserError
from pas.models.files import file_hash, model_folder, stored_dtype, weight_files
from pas.models.loading import LoadedModel, load_model, load_model_info
from pas.models.spec import ModelSpec
from tests.helpers.pickles import Harmful
from tests.helpers.tiny_models import save_tiny
from tests.helpers.weights import same, weights

SAFE, BIN = "model.safetensors", "pytorch_model.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "llama")


def load(folder: Path) -> LoadedModel:
    return load_model(ModelSpec(str(folder), device="cpu"), folder.parent / "cache")


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    if path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file(tensors, path, metadata={"format": "pt"})


def shard(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> list[Path]:
    """Write the weights as two files and their index; return the files."""
    stem, ending = name.rsplit(".", 1)
    files = [folder / f"{stem}-0000{i}-of-00002.{ending}" for i in (1, 2)]
    names = sorted(tensors)
    for part, path in zip((names[:9], names[9:]), files, strict=True):
        save({n: tensors[n] for n in part}, path)
    where = {n: files[i >= 9].name for i, n in enumerate(names)}
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / f"{name}.index.json").write_text(json.dumps(index))
    return files


@pytest.mark.parametrize("name", [SAFE, BIN])
@pytest.mark.parametrize("shards", [1, 2])
def test_the_weights_of_every_kind_of_file(folder: Path, name: str, shards: int) -> None:
    before = load(folder)
    tensors = load_file(folder / SAFE)
    (folder / SAFE).unlink()
    if shards == 2:
        expected = [*shard(folder, name, tensors), folder / f"{name}.index.json"]
    else:
        save(tensors, folder / name)
        expected = [folder / name]
    model = load(folder)
    assert same(model.model.state_dict(), before.model.state_dict())
    assert list(weight_files(model.spec, folder)) == expected
    assert model.info.n_parameters == pytest.approx(before.info.n_parameters, rel=0.05)


@pytest.mark.parametrize("copy", [BIN, "shards", "consolidated.safetensors"])
def test_a_second_copy_of_the_weights_does_not_count(folder: Path, copy: str) -> None:
    spec = ModelSpec(str(folder), device="cpu")
    before = load_model_info(spec, folder.parent / "cache")
    other = {name: tensor + 1 for name, tensor in load_file(folder / SAFE).items()}
    if copy == "shards":
        shard(folder, BIN, other)
    else:
        save(other, folder / copy)
    after = load_model_info(spec, folder.parent / "cache")
    assert (after.fingerprint, after.n_parameters) == (before.fingerprint, before.n_parameters)
    assert weight_files(spec, folder) == (folder / SAFE,)


@pytest.mark.parametrize("name", [SAFE, BIN])
def test_a_missing_shard_is_named_with_the_remedy(folder: Path, name: str) -> None:
    _, last = shard(folder, name, load_file(folder / SAFE))
    (folder / SAFE).unlink()
    last.unlink()
    with pytest.raises(UserError) as error:
        load(folder)
    said = str(error.value)
    assert said.startswith(f"--model {folder}: 1 of 2 files with weights")
    assert last.name in said and "without HF_HUB_OFFLINE" in said


def test_code_in_a_bin_file_does_not_run(folder: Path) -> None:
    trace = folder.parent / "trace"
    (folder / SAFE).unlink()
    torch.save({"model.norm.weight": Harmful(trace)}, folder / BIN)
    with pytest.raises(
        UserError, match=r"a \.bin file is damaged or holds more than tensors.*safetensors"
    ):
        load(folder)
    assert not trace.exists()
    torch.load(folder / BIN, weights_only=False)  # what the file would have done
    assert trace.exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_damaged_bin_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / SAFE).unlink()
    (folder / BIN).write_bytes(content)
    with pytest.raises(UserError, match=r"its files cannot be read|more than tensors"):
        load(folder)


def test_weights_that_are_not_in_the_files_are_missed(folder: Path) -> None:
    """transformers puts random numbers in their place."""
    tensors = load_file(folder / SAFE)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save(tensors, folder / SAFE)
    with pytest.raises(UserError, match=r"lack 1 of the model's weights.*layers\.1\.mlp\.up_proj"):
        load(folder)


def test_a_tied_head_is_not_missed(folder: Path) -> None:
    tensors = load_file(folder / SAFE)
    del tensors["lm_head.weight"]
    save(tensors, folder / SAFE)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    model = load(folder).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert same({"": model.lm_head.weight}, {"": weights(folder)["model.embed_tokens.weight"]})


def test_the_dtype_may_stand_in_the_part_for_text(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("dtype")
    for values, expected in (
        (config, "float32"),
        (config | {"torch_dtype": "float16"}, "float16"),
        (config | {"text_config": {"dtype": "bfloat16"}}, "bfloat16"),
        (config | {"dtype": "float32", "text_config": {"dtype": "bfloat16"}}, "float32"),
    ):
        path.write_text(json.dumps(values))
        assert stored_dtype(folder) == expected


def snapshot(cache: Path, source: Path, names: list[str]) -> ModelSpec:
    """Put files into a cache in the hub's layout, as an interrupted download leaves them."""
    place = cache / "models--someone--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("c0ffee")
    there = place / "snapshots" / "c0ffee"
    there.mkdir(parents=True)
    for name in names:
        (there / name).write_bytes((source / name).read_bytes())
    return ModelSpec("someone/tiny", device="cpu")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache of the hub, which cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize("name", [SAFE, BIN])
def test_a_whole_snapshot_is_used_offline(folder: Path, offline: Path, name: str) -> None:
    save(load_file(folder / SAFE), folder / BIN)
    spec = snapshot(offline, folder, ["config.json", name, *TOKENIZER])
    model = load_model(spec, folder.parent / "cache")
    assert [path.name for path in weight_files(spec, model_folder(spec, offline))] == [name]
    assert same(model.model.state_dict(), load(folder).model.state_dict())


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (["config.json", *TOKENIZER], "the folder has no weights"),
        (TOKENIZER, r"has no config\.json.*without HF_HUB_OFFLINE"),
        (["config.json", "model.safetensors.index.json", *TOKENIZER], "2 of 2 files with weights"),
        (["config.json", SAFE], "cannot be read"),
    ],
)
def test_half_a_snapshot_is_refused_offline(
    folder: Path, offline: Path, there: list[str], reason: str
) -> None:
    shard(folder, SAFE, load_file(folder / SAFE))
    spec = snapshot(offline, folder, there)
    with pytest.raises(UserError, match=f"--model someone/tiny: .*{reason}"):
        load_model(spec, folder.parent / "cache")


def test_a_model_that_was_never_downloaded_is_refused_offline(offline: Path) -> None:
    with pytest.raises(UserError, match="--model someone/else: .*the hub download failed"):
        model_folder(ModelSpec("someone/else"), offline.parent / "cache")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\x00", b"[]", b"3", b'{"a": 1}', b"[" * 100_000,
     b'{"%s": ["%s", "no hash"]}', b'{"%s": ["%s", 3]}', b'{"%s|%s": "0"}'],
)  # fmt: skip
def test_a_damaged_cache_of_hashes_starts_anew(tmp_path: Path, content: bytes) -> None:
    file, cache = tmp_path / "weights", tmp_path / "cache"
    file.write_bytes(b"1")
    expected = hashlib.sha256(b"1").hexdigest()
    assert file_hash(file, cache) == expected
    memo = cache / "hashes.json"
    [(path, (state, _))] = json.loads(memo.read_text()).items()
    memo.write_bytes(content.replace(b"%s", path.encode(), 1).replace(b"%s", state.encode()))
    assert file_hash(file, cache) == expected
    assert json.loads(memo.read_text()) == {path: [state, expected]}


def test_a_hash_is_kept(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        file_hash(tmp_path / name, tmp_path)
    memo = tmp_path / "hashes.json"
    kept = json.loads(memo.read_text())
    assert [Path(path).name for path in kept] == ["one", "two"]
    [path, *_] = kept
    memo.write_text(json.dumps(kept | {path: [kept[path][0], "f" * 64]}))
    assert file_hash(tmp_path / "one", tmp_path) == "f" * 64, "it was not read again"


def test_a_file_of_somebody_else_is_a_users_mistake(folder: Path) -> None:
    for name, remedy in ((SAFE, "let its owner make it readable"), ("config.json", "again")):
        path = folder / name
        rights, content = path.stat().st_mode, path.read_bytes()
        if os.geteuid() == 0:  # who may read everything, but no folder as a file
            path.unlink()
            path.mkdir()
        else:
            path.chmod(0)
        with pytest.raises(UserError, match=remedy):
            file_hash(path, folder.parent / "cache")
        if path.is_dir():
            path.rmdir()
            path.write_bytes(content)
        path.chmod(rights)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_configuration_is_a_users_mistake(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json (cannot be read|is no JSON object)"):
        stored_dtype(folder)
