"""Answers of the unsteered model, by question: computed once for all seeds and splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pas.errors import UserError
from storage.catalogue.holding import files_holding, key_table
from storage.catalogue.session import load_sql, open_session

if TYPE_CHECKING:
    from storage.lake.files import Lake

ANSWERS = "answers"
_SCHEMA = pa.schema([("question_key", pa.binary(16)), ("scores", pa.list_(pa.float64()))])


def answers_folder(lake: Lake, fingerprint: str, rule: str) -> str:
    """The folder of one model's answers under one scoring rule."""
    return lake.address(ANSWERS, f"model={fingerprint}", f"rule={rule}")


def answers_address(lake: Lake, fingerprint: str, rule: str, keys: Sequence[bytes]) -> str:
    """Return the address of the file for the answers to these questions."""
    return f"{answers_folder(lake, fingerprint, rule)}/{_name(keys)}.parquet"


def write_answers(lake: Lake, address: str, scores: Mapping[bytes, Sequence[float]]) -> str:
    """Write the scores of every choice, in canonical order, by question key.

    Raises:
        UserError: If a score is not a number; nothing is written then.
    """
    bad = [key.hex() for key in sorted(scores) if np.isnan(scores[key]).any()]
    if bad:
        raise UserError(
            f"answers to {len(bad)} of {len(scores)} questions are not numbers, the first with the "
            f"key {bad[0]}. The model overflows in its dtype: load it with dtype bfloat16 or "
            "float32. Nothing was written."
        )
    rows = [{"question_key": key, "scores": list(scores[key])} for key in sorted(scores)]
    return lake.write_table(address, pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_answers(
    lake: Lake, fingerprint: str, rule: str, keys: Sequence[bytes]
) -> dict[bytes, list[float]]:
    """Return the scores of those of the questions that have been answered.

    Damaged files are set aside first.
    """
    folder = answers_folder(lake, fingerprint, rule)
    addresses = files_holding(lake, folder, "question_key", keys)
    if not addresses:
        return {}
    with open_session(lake) as connection:
        connection.register("wanted", key_table("question_key", keys))
        files = [lake.uri(address) for address in addresses]
        found = connection.sql(load_sql("answers"), params={"files": files}).to_arrow_table()
    return dict(zip(found["question_key"].to_pylist(), found["scores"].to_pylist(), strict=True))


def check_answers(address: str, parquet: pq.ParquetFile, *, values: bool) -> None:
    """Check that a file of answers holds those that its address names.

    Args:
        address: Where the file is stored.
        parquet: The file.
        values: Check the scores too: that none is NaN.

    Raises:
        ValueError: With the reason.
    """
    if not parquet.schema_arrow.equals(_SCHEMA):
        raise ValueError(f"unexpected columns {parquet.schema_arrow.names}")
    keys = parquet.read(["question_key"])["question_key"].to_pylist()
    if _name(keys) != PurePosixPath(address).stem:
        raise ValueError("the address is not that of the questions")
    if values:
        scores = parquet.read(["scores"])["scores"].combine_chunks()
        if scores.null_count or np.isnan(scores.flatten().to_numpy(zero_copy_only=False)).any():
            raise ValueError("scores are not numbers")


def _name(keys: Iterable[bytes]) -> str:
    return blake2b(b"".join(sorted(set(keys))), digest_size=16).hexdigest()
