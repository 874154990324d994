"""Answers of the unsteered model, by question: computed once for all seeds and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from pas.errors import UserError
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
    name = blake2b(b"".join(sorted(set(keys))), digest_size=16).hexdigest()
    return f"{answers_folder(lake, fingerprint, rule)}/{name}.parquet"


def write_answers(lake: Lake, address: str, scores: Mapping[bytes, Sequence[float]]) -> str:
    """Write the scores of every choice, in canonical order, by question key."""
    rows = [{"question_key": key, "scores": list(scores[key])} for key in sorted(scores)]
    return lake.write_table(address, pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_answers(
    lake: Lake, fingerprint: str, rule: str, keys: Sequence[bytes]
) -> dict[bytes, list[float]]:
    """Return the scores of those of the questions that have been answered.

    Raises:
        UserError: If a file is broken.
    """
    addresses = lake.list(answers_folder(lake, fingerprint, rule))
    if not addresses or not keys:
        return {}
    wanted = pa.table({"question_key": pa.array(sorted(set(keys)), pa.binary(16))})
    with open_session(lake) as connection:
        connection.register("wanted", wanted)
        files = [lake.uri(address) for address in addresses]
        try:
            found = connection.sql(load_sql("answers"), params={"files": files}).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(
                f"lake {lake.name}: answers cannot be read ({error}). Remove the file; the next "
                "run computes its answers again."
            ) from error
    return dict(zip(found["question_key"].to_pylist(), found["scores"].to_pylist(), strict=True))
