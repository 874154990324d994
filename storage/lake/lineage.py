"""Lineage: which shards, which code and which libraries a result was made from."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "transformers", "prefect", "mlflow", "duckdb", "pyarrow", "datasets")
_THAT_COMPUTE = ("pas", "storage/catalogue/sql")


@cache
def code_digest() -> str:
    """Return a hash of the source files that compute a vector, 16 hex characters.

    These are the method and the queries. What runs, stores and shows it is left out, so that a
    change there does not make every vector due for a new training.
    """
    root = Path(__file__).resolve().parents[2]
    content = hashlib.blake2b(digest_size=8)
    for folder in _THAT_COMPUTE:
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in (".py", ".sql", ".txt"):
                content.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return content.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the project and of the libraries that matter."""
    return {name: version(name) for name in ("painless-steering", *_LIBRARIES)}
