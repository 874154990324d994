"""The identity of a model: what changes an activation changes the fingerprint."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from pas.errors import UserError
from pas.models.files import WEIGHTS, file_hash, model_folder, read_config, resolve_dtype
from pas.models.spec import ModelSpec

_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model",
              "added_tokens.json", "chat_template*")  # fmt: skip


def fingerprint(spec: ModelSpec, cache_dir: Path) -> str:
    """Return 32 hex characters that change with anything that changes an activation.

    Covers the configuration, the weights, the revision, dtype, quantization, the tokenizer and
    the versions of torch and transformers. The device is left out: the same numbers up to
    rounding come out of each.

    Raises:
        UserError: If there is no such model.
    """
    folder = model_folder(spec, cache_dir)
    weights = sorted({p for pattern in WEIGHTS for p in folder.glob(pattern)})
    if not weights:
        raise UserError(f"--model {spec.id}: the folder holds no safetensors weights")
    tokenizer = sorted({p for pattern in _TOKENIZER for p in folder.glob(pattern)})
    identity = {
        "config": read_config(folder),
        "files": {p.name: file_hash(p, cache_dir) for p in (*weights, *tokenizer)},
        "revision": spec.revision,
        "dtype": str(resolve_dtype(spec, folder)),
        "quantization": spec.quantization,
        "torch": version("torch").split("+")[0],
        "transformers": version("transformers"),
    }
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
