"""Read rows from a file, a folder in the hub's layout, a URL or a hub id.

A folder and a hub id are resolved to files as `datasets` does it, and each file is read as it would
be alone (`pas.intake.formats`). Files and folders may lie in any storage that fsspec reads; its
client finds the credentials in its usual places.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pas.errors import UserError
from pas.intake.containers import SUFFIXES, unpacked
from pas.intake.formats import read_table
from pas.intake.rows import BadRow, Row, Table, readable

# datasets sets a lock on tqdm's class while it resolves files, and removes it again: of two threads
# that load at once, one would find it gone.
_LOADING = threading.Lock()
_PREFERRED = ("test", "validation", "train")
# Parameters by which a signed address of S3, Google's or Azure's storage, or a hub's, gives access.
_SIGNATURES = {"x-amz-signature", "x-goog-signature", "signature", "sig", "token", "access_token"}


def _field(description: str, default: Any = None) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Source:
    """Where rows come from. The description of each field is in its metadata."""

    name: str | None = _field(
        "File (csv, tsv, json, jsonl, parquet; also packed), folder, either also as a URL such as "
        "s3://bucket/data.csv, or hub id; some built-in tasks need none."
    )
    revision: str | None = _field("Hub revision of the data.")
    config: str | None = _field("Hub configuration (subset) of the data.")
    split: str | None = _field(
        "Split of the source to read; the only one, or the first of test, validation, train."
    )
    format: Literal["csv", "json", "parquet"] | None = _field(
        "Format of the file; recognised by its content."
    )
    encoding: str | None = _field("Encoding of the text, such as cp1252; UTF-8 by default.")
    separator: str | None = _field("Separator of a table's cells, such as ; or tab; detected.")
    quotes: Literal["double", "none"] | None = _field(
        "Whether double quotation marks enclose cells or are plain text; detected."
    )
    header: bool | None = _field(
        "Whether the first line of a table names the columns (yes or no); detected. Without a "
        "header the columns are named 1, 2, ..."
    )
    rows: str | None = _field("Path of the rows in a JSON document, such as data.examples.")
    member: str | None = _field("File inside a zip or tar archive.")
    labels: str | None = _field(
        "File of the labels, one a line, if the rows have none; it becomes the column label."
    )

    # Read by pydantic, which would otherwise ignore a misspelt field of a recipe.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse an address with credentials: it stands in logs, tags and lineage.

        Raises:
            UserError: If it has some, where the message does not repeat it; or if it is empty or
                no address.
        """
        for option, address in (("--data", self.name), ("--data-labels", self.labels)):
            if address is not None and not address.strip():
                raise UserError(f"{option}: it is empty; give a file, a folder, a URL or a hub id")
            try:
                parts = urlsplit(address or "")
            except ValueError as error:
                raise UserError(f"{option} {address}: this is no address ({error})") from error
            signed = _SIGNATURES & {name.lower() for name in parse_qs(parts.query)}
            if "@" in parts.netloc or (parts.scheme and signed):
                raise UserError(
                    "--data: the address holds a user name, a password or a signature. Leave them "
                    "out and give them as the storage's own settings, such as AWS_ACCESS_KEY_ID"
                )


class Part(NamedTuple):
    """A part (split) of a source.

    Attributes:
        name: Its name; empty for a file.
        rows: In order; a row that could not be read is a `BadRow`.
        facts: How it was read.
        others: Names of the source's other parts.
    """

    name: str
    rows: list[Row | BadRow]
    facts: dict[str, str]
    others: tuple[str, ...]


def read_rows(source: Source) -> list[Row | BadRow]:
    """Read the rows of a source's part; see `read_part`."""
    return read_part(source).rows


def read_part(source: Source) -> Part:
    """Read the part that the source names, or the first of test, validation and train.

    Returns:
        Rows as mappings from column to value, in order. In tables of text a column of whole numbers
        is read as integers; all other cells stay text.

    Raises:
        UserError: If the source is absent, empty or unreadable.
    """
    files = _files(source)
    name = _pick_split(_place(source), list(files), source.split)
    others = tuple(other for other in files if other != name)
    table = _read(files[name], source)
    rows = table.rows if source.labels is None else _labelled(table.rows, source)
    return Part(name, rows, table.facts, others)


def count_rows(source: Source, names: Sequence[str]) -> dict[str, int]:
    """Return the number of rows of parts of a local source; those of others are not read.

    Raises:
        UserError: If a part is unreadable.
    """
    if not _is_local(source):
        return {}
    files = _files(source)
    return {name: len(_read(files[name], source).rows) for name in names}


def part_names(source: Source) -> list[str]:
    """Return the names of the source's parts; an unnamed one is that of a file.

    Raises:
        UserError: If the source is absent.
    """
    return list(_files(source))


def _place(source: Source) -> str:
    return f"--data {source.name}"


def _is_local(source: Source) -> bool:
    return "://" not in str(source.name) and _path(str(source.name), _place(source)).exists()


def _path(name: str, place: str) -> Path:
    """Return a name as a path, which need not exist.

    Raises:
        UserError: If it cannot be one: it is too long, or of the home of an unknown user.
    """
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{place[:200]}: this cannot be a file or folder ({reason})") from error
    return path


def _read(files: "Sequence[str] | Table", source: Source) -> Table:
    """Read the files of a part one after the other."""
    if isinstance(files, Table):
        return files
    place, rows, facts = _place(source), list[Row | BadRow](), dict[str, str]()
    if any(file.startswith("hf://") for file in files):  # only the part that is read
        files = _fetched(files, place)
    for file in files:
        where = place if len(files) == 1 else f"{place}, {Path(file).name}"
        data = _bytes_of(file, where)
        table = read_table(data, source, where)
        rows += table.rows
        facts |= table.facts
    if len(files) > 1:
        facts["files"] = str(len(files))
    return Table(rows, facts)


def _bytes_of(file: str, place: str) -> bytes:
    import fsspec

    with _storage_errors(f"{place}: the file cannot be read", place), fsspec.open(file) as handle:
        data: bytes = handle.read()
    return data


@contextmanager
def _storage_errors(failed: str, place: str) -> Iterator[None]:
    """Say in one line what is wrong; every storage has errors of its own."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{place}: this address cannot be opened ({error}); install what it needs"
        ) from error
    except Exception as error:
        raise UserError(f"{failed} ({error})") from error


def _files(source: Source) -> "Mapping[str, Sequence[str] | Table]":
    """Return the files of each part; a data set that `datasets` has saved is read at once."""
    place = _place(source)
    if source.name is None:
        raise UserError("--data: give a file, a folder, a URL or a hub id")
    if "://" in source.name:
        return _stored(source.name, place)
    path = _path(source.name, place)
    if path.is_file():
        return {"": [str(path)]}
    if path.is_dir():
        saved = ("dataset_dict.json", "state.json")
        if any((path / name).is_file() for name in saved):
            return _saved(path, place)
    elif path.suffix.lower() in SUFFIXES or source.name.startswith(("/", ".", "~")):
        raise UserError(f"{place}: there is no such file or folder")
    return _resolved(str(path) if path.is_dir() else source.name, source, place)


def _stored(url: str, place: str) -> dict[str, Sequence[str]]:
    """Return the files of a folder in a storage by part, as `datasets` finds them, or the file."""
    import fsspec

    if url.startswith(("http://", "https://")) or "::" in url:  # these have no folders
        return {"": [url]}
    with _storage_errors(f"{place}: the storage cannot be read", place):
        storage, path = fsspec.core.url_to_fs(url)
        storage.invalidate_cache()  # someone may have added a file since this process looked
        folder = storage.isdir(path)
    if not folder:
        return {"": [url]}
    from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns

    try:
        found = DataFilesDict.from_patterns(get_data_patterns(url), base_path=url)
    except EmptyDatasetError as error:
        raise _no_files(place) from error
    parts: dict[str, Sequence[str]] = {}
    for part, files in found.items():
        if tables := [str(file) for file in files if _may_be_table(str(file))]:
            parts[str(part)] = tables
    if not parts:
        raise _no_files(place)
    return parts


def _may_be_table(file: str) -> bool:
    """Whether one of its endings is a table's, as in `train.jsonl.gz`."""
    return any(suffix.lower() in SUFFIXES for suffix in Path(file).suffixes)


def _no_files(place: str) -> UserError:
    return UserError(f"{place}: there are no files of data; known are {', '.join(SUFFIXES)}")


def _resolved(name: str, source: Source, place: str) -> dict[str, Sequence[str]]:
    """Return the files of a folder or hub id by part, as `datasets` finds them."""
    from datasets import load_dataset_builder

    local = Path(name).is_dir()
    try:
        with _LOADING:
            builder = load_dataset_builder(
                name, name=source.config, revision=None if local else source.revision
            )
            files = builder.config.data_files or {}
    except Exception as error:  # those of its readers of YAML and JSON come as they are
        raise _not_found(place, error) from error
    if not files:
        raise _no_files(place)
    return {str(part): [str(file) for file in names] for part, names in files.items()}


def _fetched(files: Sequence[str], place: str) -> Sequence[str]:
    """Return local copies of a part's files on the hub, in the hub's own cache."""
    from datasets import DownloadManager

    try:
        fetched: list[str] = DownloadManager().download(list(files))
    except Exception as error:  # the errors of its transport come as they are
        raise _not_found(place, error) from error
    return fetched


def _not_found(place: str, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [""])[0][:200]
    return UserError(
        f"{place}: this is not a readable file or folder, and it could not be loaded from the hub "
        f"({type(error).__name__}: {reason}). Check the path, or the id and the network."
    )


def _saved(path: Path, place: str) -> dict[str, Table]:
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(path))
        parts = {"": loaded} if isinstance(loaded, Dataset) else loaded
        rows = {str(name): part.to_list() for name, part in parts.items()}
    except Exception as error:  # it takes for granted what its files hold
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{place}: the saved data set cannot be read ({reason}). Save it again"
        ) from error
    facts = {"format": "data set saved by datasets"}
    return {name: Table(part, dict(facts)) for name, part in rows.items()}


def _labelled(rows: list[Row | BadRow], source: Source) -> list[Row | BadRow]:
    """Add the column `label` from a file with one label a line."""
    place = f"--data-labels {source.labels}"
    apart = replace(source, name=source.labels, labels=None)
    [file, *_] = next(iter(_files(apart).values()))
    data, _ = unpacked(_bytes_of(str(file), place), None, place)
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: the file cannot be read ({error})") from error
    labels = [line.strip() for line in lines]
    while labels and not labels[-1]:
        labels.pop()
    if len(labels) != len(rows):
        raise UserError(f"{place}: {len(labels)} labels for {len(rows)} rows of {source.name}")
    if any("label" in row for row in rows if readable(row)):
        raise UserError(f"{place}: the rows have a column 'label' of their own; remove the option")
    return [
        {**row, "label": label} if readable(row) else row
        for row, label in zip(rows, labels, strict=True)
    ]


def _pick_split(place: str, names: list[str], requested: str | None) -> str:
    if requested is not None:
        if requested not in names:
            known = ", ".join(name for name in names if name) or "no named split"
            raise UserError(f"{place}: no split {requested!r}; it has {known}")
        return requested
    return next((name for name in _PREFERRED if name in names), names[0])
