"""Read rows from a file, a local folder in hub layout, or a hub id.

All are read with `datasets.load_dataset`. Files may be csv, tsv, json, jsonl or parquet.
"""

import csv
import glob
import re
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pas.errors import UserError

Row = Mapping[str, Any]
# datasets sets a lock on tqdm's class while it resolves files, and removes it again: of two threads
# that load at once, one would find it gone.
_LOADING = threading.Lock()
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Source:
    """Where rows come from. The description of each field is in its metadata."""

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

    # Read by pydantic, which would otherwise ignore a misspelt field of a recipe.
    __pydantic_config__: ClassVar = {"extra": "forbid"}


def read_rows(source: Source) -> list[Row]:
    """Read all rows of a source.

    Returns:
        One mapping from column name to value per row, in order. In csv and tsv files a column of
        whole numbers is read as integers; all other cells stay text.

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
            with _LOADING:
                loaded = load_dataset(name, **options)
        except DatasetGenerationError as error:
            cause = error.__cause__ or error
            raise UserError(
                f"{place}: the rows cannot be read ({cause}). Correct the file."
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{place}: this is not a readable file or folder, and it could not be loaded from "
                f"the hub ({type(error).__name__}: {str(error).splitlines()[0][:200]}). Check the "
                "path, or the id and the network."
            ) from error
        if isinstance(loaded, DatasetDict):
            loaded = loaded[_pick_split(place, list(loaded), source.split)]
        rows: list[Row] = [dict(row) for row in loaded]
    return _with_integers(rows) if name == "csv" else rows


def _loader(name: str, source: Source, place: str, scratch: str) -> tuple[str, dict[str, Any]]:
    """Return the arguments of `load_dataset`. Arrow copies of local files go to `scratch`."""
    path = Path(name).expanduser()
    options: dict[str, Any] = {"revision": source.revision, "name": source.config}
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix not in _FORMATS:
            raise UserError(f"{place}: the file's suffix is not one of {', '.join(_FORMATS)}")
        if not path.stat().st_size:
            raise UserError(f"{place}: the file is empty")
        options = {"data_files": glob.escape(str(path)), "cache_dir": scratch}
        separator = "\t" if suffix == ".tsv" else ","
        return _FORMATS[suffix], options | (
            _text_cells(path, separator) if _FORMATS[suffix] == "csv" else {}
        )
    if path.is_dir():
        return str(path), options | {"cache_dir": scratch}
    if suffix in _FORMATS or name.startswith(("/", ".", "~")):
        raise UserError(f"{place}: there is no such file or folder")
    return name, options


def _text_cells(path: Path, separator: str) -> dict[str, Any]:
    """Return options that read every cell of a table as text.

    By default the reader takes a choice `None` or `NA` for a missing one, and reads `3` as `3.0`
    if the column is empty in another row.
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
    """Convert columns that hold only whole numbers, such as most labels, to integers."""
    whole = re.compile(r"-?(0|[1-9][0-9]*)")
    integers = {name for name in rows[0] if all(whole.fullmatch(row[name] or "") for row in rows)}
    return [{k: int(v) if k in integers else v for k, v in row.items()} for row in rows]


def _pick_split(place: str, names: list[str], requested: str | None) -> str:
    if requested is not None:
        if requested not in names:
            raise UserError(f"{place}: no split {requested!r}; it has {', '.join(names)}")
        return requested
    for name in ("test", "validation", "train"):
        if name in names:
            return name
    return names[0]
