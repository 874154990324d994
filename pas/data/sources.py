"""Reading rows from where they lie: a hub id, a file, or a local folder in hub layout.

All are read with `datasets.load_dataset`, csv, tsv, json, jsonl and parquet files included.
"""

import csv
import glob
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pas.errors import UserError

Row = Mapping[str, Any]
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Source:
    """Where rows come from. Each field has its description."""

    name: str | None = field(
        default=None,
        metadata={
            "description": "csv, tsv, json, jsonl or parquet file, folder, or hub id; some "
            "built-in tasks need none."
        },
    )
    revision: str | None = field(
        default=None, metadata={"description": "Hub revision of the data."}
    )
    config: str | None = field(
        default=None, metadata={"description": "Hub configuration (subset) of the data."}
    )
    split: str | None = field(
        default=None,
        metadata={
            "description": "Split of the source to read; the only one, or the first of test, "
            "validation, train."
        },
    )

    # Where pydantic reads it, as in a recipe: it would ignore a misspelt field.
    __pydantic_config__: ClassVar = {"extra": "forbid"}


def read_rows(source: Source) -> list[Row]:
    """Read all rows of a source.

    Raises:
        UserError: If the source is absent, empty or unreadable.
    """
    from datasets import DatasetDict, load_dataset
    from datasets.exceptions import DatasetGenerationError

    if source.name is None:
        raise UserError("--data: give a file, a folder or a hub id")
    place = f"--data {source.name}"
    with tempfile.TemporaryDirectory(prefix="pas-") as scratch:
        name, options = _loader(source.name, source, place, scratch)
        try:
            loaded = load_dataset(name, **options)
        except DatasetGenerationError as error:
            cause = error.__cause__ or error
            raise UserError(f"{place}: the rows cannot be read ({cause})") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{place}: neither a readable file or folder here nor a data set that the hub gave "
                f"({type(error).__name__}: {str(error).splitlines()[0][:200]})"
            ) from error
        if isinstance(loaded, DatasetDict):
            loaded = loaded[_pick_split(place, list(loaded), source.split)]
        rows: list[Row] = [dict(row) for row in loaded]
    return _with_integers(rows) if name == "csv" else rows


def _loader(name: str, source: Source, place: str, scratch: str) -> tuple[str, dict[str, Any]]:
    """Return what to call `load_dataset` with; the Arrow copy of local files goes to `scratch`."""
    path = Path(name).expanduser()
    options: dict[str, Any] = {"revision": source.revision, "name": source.config}
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix not in _FORMATS:
            raise UserError(f"{place}: the file's ending is none of {', '.join(_FORMATS)}")
        if not path.stat().st_size:
            raise UserError(f"{place}: the file is empty")
        options = {"data_files": glob.escape(str(path)), "cache_dir": scratch}
        separator = "\t" if suffix == ".tsv" else ","
        return _FORMATS[suffix], options | (
            _as_written(path, separator) if _FORMATS[suffix] == "csv" else {}
        )
    if path.is_dir():
        return str(path), options | {"cache_dir": scratch}
    if suffix in _FORMATS or name.startswith(("/", ".", "~")):
        raise UserError(f"{place}: there is no such file or folder")
    return name, options


def _as_written(path: Path, separator: str) -> dict[str, Any]:
    """Return options that keep a table's cells as they stand.

    Left alone, the reader takes a choice `None` or `NA` for a missing one and turns `3` into
    `3.0` where another row of the column is empty.
    """
    from datasets import Features, Value

    with path.open(newline="", encoding="utf-8-sig", errors="replace") as handle:
        header = next(filter(None, csv.reader(handle, delimiter=separator)), [])
    return {
        "sep": separator,
        "keep_default_na": False,
        "na_values": [""],
        "features": Features({name: Value("string") for name in header}),
    }


def _with_integers(rows: list[Row]) -> list[Row]:
    """Read the columns that hold whole numbers alone, such as most labels, as integers."""
    whole = re.compile(r"-?(0|[1-9][0-9]*)")
    integers = {name for name in rows[0] if all(whole.fullmatch(row[name] or "") for row in rows)}
    return [{k: int(v) if k in integers else v for k, v in row.items()} for row in rows]


def _pick_split(place: str, names: list[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{place}: no split {wanted!r}; it has {', '.join(names)}")
        return wanted
    for name in ("test", "validation", "train"):
        if name in names:
            return name
    return names[0]
