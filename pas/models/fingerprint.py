"""The fingerprint of a model: it changes with anything that changes an activation."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from pas.models.files import file_hash, model_folder, read_config, resolve_dtype, weight_files
from pas.models.spec import ModelSpec

_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "added_tokens.json",
    "chat_template*",
)


def fingerprint(spec: ModelSpec, cache_dir: Path) -> str:
    """Return blake2b-128, as 32 hex characters, of everything that determines an activation.

    Covers the configuration, the weights, the revision, dtype, quantization, the tokenizer and
    the versions of torch and transformers. The device is left out, because activations differ
    between devices only by rounding.

    Of several copies of the weights in one folder, the one that is loaded counts.

    Raises:
        UserError: If there is no such model, or files with its weights are missing.
    """
    folder = model_folder(spec, cache_dir)
    weights = weight_files(spec, folder)
    tokenizer = sorted({p for pattern in _TOKENIZER for p in folder.glob(pattern)})
    identity = {
        "config": read_config(folder),
        "files": {p.name: file_hash(p, cache_dir) for p in weights}
        | {p.name: _tokenizer_hash(p, cache_dir) for p in tokenizer},
        "revision": spec.revision,
        "dtype": str(resolve_dtype(spec, folder)),
        "quantization": spec.quantization,
        "torch": version("torch").split("+")[0],
        "transformers": version("transformers"),
    }
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _tokenizer_hash(path: Path, cache_dir: Path) -> str:
    """Return the SHA-256 of a tokenizer's file.

    transformers saves in the configuration whether the hub was to be asked when the tokenizer was
    loaded. Of two machines that convert the same model one may work offline.
    """
    if path.name == "tokenizer_config.json":
        config = read_config(path.parent, path.name)
        if config.get("local_files_only"):
            online = json.dumps(
                config | {"local_files_only": False},
                indent=2,
                sort_keys=True,
                ensure_ascii=False,  # as transformers writes it
            )
            return hashlib.sha256(f"{online}\n".encode()).hexdigest()
    return file_hash(path, cache_dir)
