"""Pairs of texts for people to judge: a CSV file, and the key in a file of its own."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from pas.errors import UserError
from pas.evidence.pairs import Choice, Pair
from pas.files import write_whole

_COLUMNS = ("id", "prompt", "first", "second", "better")
_KEY = ".key.json"


class Verdicts(NamedTuple):
    """What people chose.

    Attributes:
        pairs: The pairs.
        choices: What was chosen in each.
        strength: Factor on the vector.
    """

    pairs: list[Pair]
    choices: list[Choice]
    strength: float


def write_pairs(pairs: Sequence[Pair], strength: float, file: Path) -> Path:
    """Write pairs for people as CSV, and which text was steered into a file beside it.

    Args:
        pairs: The pairs.
        strength: Factor on the vector.
        file: CSV to write; the column `better` is empty, for "first", "second" or "tie".

    Returns:
        The file that holds the key.

    Raises:
        UserError: If it cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    table.writerows((p.id, p.prompt, p.first, p.second, "") for p in pairs)
    key = file.with_name(file.name + _KEY)
    try:
        held = {"strength": strength, "steered": {p.id: p.steered for p in pairs}}
        write_whole(key, (json.dumps(held) + "\n").encode())
        write_whole(file, text.getvalue().encode())
    except OSError as error:
        raise UserError(f"--csv {file}: cannot be written ({error.strerror})") from error
    return key


def read_verdicts(file: Path) -> Verdicts:
    """Read what people chose.

    Raises:
        UserError: If the file or its key cannot be read, or a pair has no verdict or another word;
            names the row.
    """
    try:
        held = json.loads(file.with_name(file.name + _KEY).read_bytes())
        key, strength = dict(held["steered"]), float(held["strength"])
        rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"), newline="")))
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            f"--verdicts {file}: it or its key {file.name}{_KEY} cannot be read ({error})"
        ) from error
    pairs, choices = [], list[Choice]()
    for number, row in enumerate(rows, 2):
        choice = (row.get("better") or "").strip().lower()
        if choice not in ("first", "second", "tie"):
            raise UserError(
                f"--verdicts {file}, line {number}: better is {choice!r}; write first, second or "
                "tie"
            )
        if row.get("id") not in key:
            raise UserError(
                f"--verdicts {file}, line {number}: the key has no pair {row.get('id')}"
            )
        pairs.append(Pair(row["id"], row["prompt"], row["first"], row["second"], key[row["id"]]))
        choices.append(cast(Choice, choice))
    if len({p.id for p in pairs}) != len(key):
        raise UserError(
            f"--verdicts {file}: it has {len(pairs)} of {len(key)} pairs; keep every row"
        )
    return Verdicts(pairs, choices, strength)
