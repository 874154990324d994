"""Which files of the lake hold the rows that a query wants; only those are verified and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage.catalogue.session import load_sql, open_session, reading

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.lake.files import Lake


def key_table(column: str, keys: Sequence[bytes]) -> pa.Table:
    """Return keys as a table to join with: one column `BINARY(16)`, each key once.

    Args:
        column: Its name.
        keys: 16 bytes each.
    """
    import pyarrow as pa

    return pa.table({column: pa.array(sorted(set(keys)), pa.binary(16))})


def shards_holding(lake: Lake, fingerprint: str, site: str, keys: Sequence[bytes]) -> list[str]:
    """Return the addresses of a model's intact shards that hold any of the prompts, sorted.

    Args:
        lake: Where to look; damaged files are set aside.
        fingerprint: The model.
        site: Where its activations were read.
        keys: Prompt keys, 16 bytes each.
    """
    from storage.lake.shards import shard_folder

    return files_holding(lake, shard_folder(lake, fingerprint, site), "prompt_key", keys)


def files_holding(lake: Lake, folder: str, column: str, keys: Sequence[bytes]) -> list[str]:
    """Return the addresses of the intact files of a folder that hold any of the keys, sorted.

    Args:
        lake: Where to look; damaged files are set aside.
        folder: Of files with the same columns.
        column: Name of the column with the keys.
        keys: 16 bytes each.
    """
    from storage.lake.verification import intact_files

    files = lake.files(folder) if keys else {}
    with open_session(lake) as connection:
        connection.register("wanted", key_table(column, keys))

        def look(addresses: list[str]) -> list[str]:
            by_uri = {lake.uri(address): address for address in addresses}
            sql = load_sql("holding").format(column=column)
            found = connection.sql(sql, params={"files": list(by_uri)}).fetchall()
            return sorted(by_uri[uri] for (uri,) in found)

        holding = reading(lake, files, look, list[str]())
    return intact_files(lake, {address: files[address] for address in holding})
