"""The lake: every file the project keeps, under one fsspec URL, written whole or not at all.

pyarrow is imported by the functions that need it, here and in other modules that `pas sql` uses:
importing it takes longer than a query.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pas.errors import UserError
from pas.files import TEMPORARY_PREFIX, write_whole
from storage.lake import checksum, schema

if TYPE_CHECKING:
    import pyarrow as pa

# Named here because inside the class `list` is the method.
Addresses = list[str]

ACTIVATIONS_FOLDER = "activations"  # where shards are
QUARANTINE = "quarantine"  # where damaged files are set aside, under their own addresses
# Serialising happens in memory, so a temporary file lives only as long as one write call; an
# older one belongs to a writer that was killed.
STRAY_AGE_SECONDS = 600.0

_PART = re.compile(r"[A-Za-z0-9._=-]{1,200}")
# DuckDB expands these in every path it is given, so a lake below such a folder could not be read.
_GLOB_CHARACTERS = frozenset("*?[]{}")
# File systems of fsspec that only read.
_READ_ONLY = frozenset({"http", "https", "zip", "tar", "libarchive", "reference", "data", "git"})


class DamagedError(UserError):
    """A file of the lake whose content is not what was written."""

    def __init__(self, lake: Lake, address: str, damage: str) -> None:
        """Name the file, what is wrong with it, and the remedy."""
        super().__init__(
            f"lake {lake.name}: {address} is damaged ({damage}). `pas cache gc` removes it."
        )


class FileVersion(NamedTuple):
    """Which content a file has, as far as a listing tells: another one once it is written anew.

    Attributes:
        size: Bytes.
        stamp: Times and inode of a local file, the tag of an object.
    """

    size: int
    stamp: str


@dataclass(frozen=True)
class Lake:
    """A folder or bucket of Parquet files, named by addresses relative to its root.

    The value is only its URL, so it can be hashed, pickled and passed between tasks. Credentials
    of object stores come from where their clients look for them (environment, profile, role).

    Attributes:
        url: A local folder or any fsspec URL, such as `s3://bucket/prefix` or `memory://name`.
    """

    url: str

    @property
    def name(self) -> str:
        """The URL as it may be shown: without a user and password."""
        from storage.http import without_credentials

        return without_credentials(self.url)

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system; its listings are never cached, other processes write here too."""
        made = fsspec.core.url_to_fs(self.url, use_listings_cache=False)[0]
        if "s3" in made.protocol:
            _wait_for_s3()
        return made

    @property
    def root(self) -> str:
        """The path of the lake inside `fs`, without a trailing slash."""
        return str(fsspec.core.url_to_fs(self.url, use_listings_cache=False)[1]).rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def address(self, *parts: str) -> str:
        """Join parts to a safe relative address.

        Args:
            *parts: Folder names and the file name, each of `A-Z a-z 0-9 . _ = -`.

        Raises:
            UserError: For a part with any other character, `.`, `..`, or a temporary name.
        """
        for part in parts:
            if part.startswith(TEMPORARY_PREFIX):
                raise UserError(
                    f"lake address: {part!r} begins with {TEMPORARY_PREFIX!r}, the mark of "
                    "unfinished files; choose another name."
                )
        return _joined(parts)

    def path(self, address: str) -> str:
        """The full path of an address inside `fs`."""
        return f"{self.root}/{_joined(address.split('/'))}"

    def uri(self, address: str = "") -> str:
        """What DuckDB opens: a plain path for a local lake, else the URL with its protocol."""
        path = self.path(address) if address else self.root
        return path if self.is_local else str(self.fs.unstrip_protocol(path))

    def exists(self, address: str) -> bool:
        """Whether there is a finished file at the address."""
        return bool(self.fs.isfile(self.path(address)))

    def list(self, prefix: str = "", suffix: str = ".parquet") -> Addresses:
        """Sorted addresses of the finished files below a folder (all of the lake by default)."""
        return [*self.files(prefix, suffix)]

    def files(self, prefix: str = "", suffix: str = ".parquet") -> dict[str, FileVersion]:
        """The finished files below a folder, sorted by address, from one listing.

        Those in quarantine are listed only below their own folder.
        """
        return {
            address: _version(info)
            for address, info in sorted(self._find(prefix).items())
            if address.endswith(suffix)
            and not _is_temporary(address)
            and (prefix or not address.startswith(f"{QUARANTINE}/"))
        }

    def version(self, address: str) -> FileVersion | None:
        """Which content the file at an address has, or None where there is none."""
        try:
            info = self.fs.info(self.path(address))
        except FileNotFoundError:
            return None
        return _version(info) if info.get("type") == "file" else None

    def written(self, address: str) -> datetime:
        """When the file at an address was written."""
        when: datetime = self.fs.modified(self.path(address))
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def size(self, address: str) -> int:
        """Bytes of one file."""
        return int(self.fs.size(self.path(address)))

    def open(self, address: str) -> Any:
        """A seekable binary file for reading; the caller closes it."""
        return self.fs.open(self.path(address), "rb")

    def open_whole(self, address: str) -> BinaryIO:
        """Open a file to read all of it; an object is fetched at once. The caller closes it.

        Raises:
            FileNotFoundError: If there is no file at the address.
            UserError: If the lake cannot be read.
        """
        path = self.path(address)
        try:
            if self.is_local:
                return open(path, "rb", buffering=0)
            return io.BytesIO(self.fs.cat_file(path))
        except PermissionError as error:
            raise UserError(
                f"lake {self.name}: {address} cannot be read ({error}). Check your access to it."
            ) from error

    def require_undamaged(self, address: str) -> None:
        """Compare a file's bytes with its checksum, if it has one and if the file is there.

        Raises:
            DamagedError: If they are not those that were written.
            UserError: If a newer release has written it.
        """
        with contextlib.suppress(FileNotFoundError), self.open_whole(address) as file:
            damaged = checksum.is_damaged(file)
            if damaged:
                raise DamagedError(self, address, "its checksum differs")
            if damaged is False:
                schema.require_known(file, f"lake {self.name}: {address}")

    def read_table(self, address: str) -> pa.Table:
        """Read a whole Parquet file; its bytes are checked.

        Raises:
            FileNotFoundError: If there is no file at the address.
            DamagedError: If its content is not what was written.
            UserError: If a newer release has written it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        damage = "its checksum differs"
        with self.open_whole(address) as file:
            data = file.read()
        damaged = checksum.is_damaged(io.BytesIO(data))
        if damaged is False:
            schema.require_known(io.BytesIO(data), f"lake {self.name}: {address}")
        if not damaged:
            try:
                with pq.ParquetFile(pa.BufferReader(data)) as parquet:
                    return parquet.read()
            except (pa.ArrowException, OSError) as error:
                damage = str(error)
        raise DamagedError(self, address, damage)

    def write_table(
        self,
        address: str,
        table: pa.Table,
        metadata: Mapping[str, str] | None = None,
        *,
        row_group_rows: int | None = None,
        uncoded: tuple[str, ...] = (),
    ) -> str:
        """Write a table so that readers see the whole file or none.

        Args:
            address: Where, from `address`.
            table: The rows.
            metadata: Entries added to the metadata in the file's footer.
            row_group_rows: Rows of each row group; the Arrow default if not given.
            uncoded: Columns written without a dictionary, for values that rarely repeat.

        Returns:
            The address. Two writers of one address are harmless: the last one wins whole.
        """
        import pyarrow.parquet as pq

        present = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        for own in (checksum.KEY, schema.KEY):
            present.pop(own, None)
        table = table.replace_schema_metadata({**present, **(metadata or {})})
        coded = [name for name in table.column_names if name not in uncoded]
        sink = io.BytesIO()
        with pq.ParquetWriter(
            sink,
            table.schema,
            compression="zstd",
            use_dictionary=coded if uncoded else True,
            write_page_checksum=True,
        ) as writer:
            writer.write_table(table, row_group_rows)
            writer.add_key_value_metadata(
                {schema.KEY: str(schema.NUMBER), checksum.KEY: checksum.BLANK}
            )
        checksum.fill_in(sink)
        self._put(self.path(self.address(*address.split("/"))), sink.getbuffer())
        return address

    def write_text(self, address: str, text: str) -> str:
        """Write a text file so that readers see the whole file or none; return the address."""
        path = self.path(self.address(*address.split("/")))
        self._put(path, memoryview(text.encode()))
        return address

    def claim(self, address: str) -> bool:
        """Make an empty file unless there is one; of several who try at once, one succeeds."""
        path = self.path(self.address(*address.split("/")))
        with self._explaining("write"):
            try:
                if self.is_local:
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    open(path, "xb").close()
                else:
                    self.fs.pipe_file(path, b"", mode="create")
            except FileExistsError:
                return False
        return True

    def remove(self, address: str) -> None:
        """Delete one file; nothing happens if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(address))

    def set_aside(self, address: str) -> None:
        """Move a file to the quarantine, where no reader finds it.

        Raises:
            UserError: If that is not allowed.
        """
        source, target = self.path(address), self.path(f"{QUARANTINE}/{address}")
        with self._explaining("set a damaged file aside"), contextlib.suppress(FileNotFoundError):
            if self.is_local:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(source, target)
            else:
                self.fs.mv(source, target)

    def stray_files(self, min_age_seconds: float = STRAY_AGE_SECONDS) -> Addresses:
        """Addresses of temporary files whose writer was killed; `remove` deletes them.

        Args:
            min_age_seconds: Younger ones may belong to a write in progress and are left out.
        """
        newest = time.time() - min_age_seconds
        return sorted(
            address
            for address, info in self._find("").items()
            if _is_temporary(address) and float(info.get("mtime", 0.0)) <= newest
        )

    def _find(self, prefix: str) -> dict[str, dict[str, Any]]:
        folder = self.path(prefix) if prefix else self.root
        with self._explaining("list"):
            found: dict[str, dict[str, Any]] = self.fs.find(folder, detail=True)
        return {path[len(self.root) + 1 :]: info for path, info in found.items()}

    def _put(self, path: str, data: memoryview) -> None:
        with self._explaining("write"):
            if self.is_local:
                file = Path(path)
                file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(file, data)
            else:
                # An object store shows a put only when it is complete.
                self.fs.pipe_file(path, bytes(data))

    @contextlib.contextmanager
    def _explaining(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise UserError(
                f"lake {self.name}: cannot {verb} ({error}). Check that the folder or bucket "
                "exists and that you have access to it, or set another lake."
            ) from error


@cache
def _wait_for_s3() -> None:
    """Let s3fs try for about a minute where the object store cannot be reached.

    A store that restarts should not fail a training. By itself s3fs gives up after botocore's own
    five tries, which take some 10 s.
    """
    import s3fs
    from botocore.exceptions import ConnectionError as Unreachable

    s3fs.S3FileSystem.retries = 6
    s3fs.core.set_custom_error_handler(lambda error: isinstance(error, Unreachable))


def open_lake(url: str, *, reading: bool = False) -> Lake:
    """Open a lake; its folder is made by the first write.

    Args:
        url: A local folder, or the address of a file system that fsspec knows.
        reading: The lake is read only, so a folder without the right to write will do.

    Raises:
        UserError: For a URL without a usable file system, or a folder that cannot be written.
    """
    lake = Lake(url)
    if not url.strip() or set(url) & _GLOB_CHARACTERS:
        raise UserError(
            f"lake {lake.name!r}: give a folder or a URL such as s3://bucket/prefix, without any "
            f"of {' '.join(sorted(_GLOB_CHARACTERS))}."
        )
    try:
        local, root = lake.is_local, Path(lake.root)
    # Its file system may look for the file that the address names, and fail as files do.
    except (ValueError, ImportError, OSError) as error:
        raise UserError(
            f"lake {lake.name!r}: {error}. Use a local folder, or install the fsspec package of "
            "this protocol."
        ) from error
    if not local and _READ_ONLY.intersection(_protocols(lake)):
        raise UserError(
            f"lake {lake.name!r}: nothing can be written there. Use a local folder, or a store of "
            "objects such as s3://bucket/prefix."
        )
    try:
        standing = next((p for p in (root, *root.parents) if p.exists()), root)
    except OSError as error:
        raise UserError(f"lake {lake.name[:80]!r}: {error.strerror}; choose a folder.") from error
    if local and not (standing.is_dir() and (reading or os.access(standing, os.W_OK))):
        raise UserError(f"lake {lake.name!r}: choose a folder that you may write to.")
    return lake


def _protocols(lake: Lake) -> set[str]:
    """Return the names by which an address asks for the lake's file system."""
    named = lake.fs.protocol
    return {named} if isinstance(named, str) else {*named}


def _joined(parts: tuple[str, ...] | list[str]) -> str:
    for part in parts:
        if not _PART.fullmatch(part) or part in {".", ".."}:
            raise UserError(
                f"lake address: {part!r} cannot name a file or folder; use 1 to 200 letters, "
                "digits and . _ = - (and not . or .. alone)."
            )
    return "/".join(parts)


def _version(info: Mapping[str, Any]) -> FileVersion:
    marks = [info[mark] for mark in ("mtime", "ino", "ETag", "etag", "created") if mark in info]
    # File systems in memory give a time as a number in one place and as a date in another.
    plain = [mark.timestamp() if isinstance(mark, datetime) else mark for mark in marks]
    return FileVersion(int(info["size"]), "|".join(map(str, plain)))


def _is_temporary(address: str) -> bool:
    return address.rpartition("/")[2].startswith(TEMPORARY_PREFIX)
