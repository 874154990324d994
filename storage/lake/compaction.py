"""Compaction: many small files of activations and answers become few large ones.

Opening a file takes longer than reading a small one, so a lake that grew by small additions answers
slowly. Other processes may work meanwhile: a file is whole before those that it replaces are
removed, and a reader whose files vanish under it looks again.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from storage.lake.answers import ANSWERS, answers_address, write_answers
from storage.lake.files import ACTIVATIONS_FOLDER, STRAY_AGE_SECONDS, DamagedError, Lake
from storage.lake.shards import kind_of, merge_shards
from storage.lake.verification import intact

log = logging.getLogger("pas")

TARGET_BYTES = 64_000_000
"""Size of a merged file. A layer of it is read at once, so several fit into a query's memory."""


class Merge(NamedTuple):
    """Files to become one.

    Attributes:
        addresses: The files.
        bytes: Their size together.
    """

    addresses: tuple[str, ...]
    bytes: int


def small_files(
    lake: Lake, target: int = TARGET_BYTES, min_age_seconds: float = STRAY_AGE_SECONDS
) -> list[Merge]:
    """Return which files to merge.

    Args:
        lake: Where to look.
        target: Bytes of a merged file. Files of half of that and more are left as they are, so
            that no file is copied again and again.
        min_age_seconds: Younger files are left, because their writer may still look for them.
    """
    newest = time.time() - min_age_seconds
    merges = []
    for folder, kind in ((ACTIVATIONS_FOLDER, _kind_of_shard), (ANSWERS, _kind_of_answers)):
        groups = defaultdict[Hashable, list[tuple[str, int]]](list)
        for address, version in lake.files(folder).items():
            if version.size < target / 2 and lake.written(address).timestamp() <= newest:
                group = kind(lake, address)
                if group is not None:
                    groups[group].append((address, version.size))
        for files in groups.values():
            merges += [m for m in _filled(files, target) if len(m.addresses) > 1]
    return merges


def merge(lake: Lake, chosen: Merge) -> str | None:
    """Write a merge's rows into one file and remove the others; return the address of the file.

    Returns None, and leaves everything, if one of the files is damaged or has gone meanwhile.
    """
    by_answers = chosen.addresses[0].startswith(f"{ANSWERS}/")
    try:
        if not all(intact(lake, address) for address in chosen.addresses):
            return None
        write = _merge_answers if by_answers else merge_shards
        merged = write(lake, chosen.addresses)
    except (FileNotFoundError, DamagedError) as error:
        log.warning("compaction: %s", error)
        return None
    if not intact(lake, merged):
        return None
    for address in chosen.addresses:
        if address != merged:
            lake.remove(address)
    return merged


def _filled(files: Iterable[tuple[str, int]], target: int) -> Iterator[Merge]:
    held, size = list[str](), 0
    for address, bytes_ in files:
        if held and size + bytes_ > target:
            yield Merge(tuple(held), size)
            held, size = [], 0
        held.append(address)
        size += bytes_
    yield Merge(tuple(held), size)


def _kind_of_shard(lake: Lake, address: str) -> Hashable | None:
    try:
        return str(PurePosixPath(address).parent), kind_of(lake, address)
    except (ValueError, KeyError, AttributeError):
        return None  # damaged or gone: `pas cache verify` tells


def _kind_of_answers(_: Lake, address: str) -> Hashable | None:
    return str(PurePosixPath(address).parent)


def _merge_answers(lake: Lake, addresses: Sequence[str]) -> str:
    scores: dict[bytes, Sequence[float]] = {}
    for address in addresses:
        table = lake.read_table(address)
        columns = (table[name].to_pylist() for name in ("question_key", "scores"))
        for key, values in zip(*columns, strict=True):
            scores.setdefault(key, values)
    _, model, rule, _ = addresses[0].split("/")
    fingerprint, rule = model.removeprefix("model="), rule.removeprefix("rule=")
    return write_answers(lake, answers_address(lake, fingerprint, rule, [*scores]), scores)
