"""Lineage: which shards, which code and which libraries a result was made from."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from storage.catalogue.session import load_sql, open_session
from storage.lake.files import Lake
from storage.lake.shards import shard_folder

_LIBRARIES = ("torch", "transformers", "prefect", "mlflow", "duckdb", "pyarrow", "datasets")
_THAT_COMPUTE = ("pas", "storage/catalogue/sql")


def shards_holding(lake: Lake, fingerprint: str, site: str, keys: Sequence[bytes]) -> list[str]:
    """Return the addresses of a model's shards that hold any of the prompts, sorted.

    Args:
        lake: Where to look.
        fingerprint: The model.
        site: Where its activations were read.
        keys: Prompt keys, 16 bytes each.
    """
    addresses = lake.list(shard_folder(lake, fingerprint, site))
    if not addresses:
        return []
    with open_session(lake) as connection:
        connection.register("wanted", pa.table({"prompt_key": pa.array(keys, pa.binary(16))}))
        uris = {lake.uri(address): address for address in addresses}
        found = connection.sql(load_sql("holding"), params={"files": list(uris)})
        return sorted(uris[name] for (name,) in found.fetchall())


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
