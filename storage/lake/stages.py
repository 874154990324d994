"""Content-addressed results of a pipeline's steps, stored with the activations in the lake.

The address is a hash of everything that determines the content, so a step whose file
exists is not run again by any flow or machine.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pas.data.examples import Example
from pas.data.splits import SPLITS, Split
from pas.errors import UserError
from storage.lake.files import Lake

STAGES = "stages"
SWEEP_SHARES = f"{STAGES}/sweep-shares"  # parts of a sweep that processes share
SHARES = "shares"  # what processes need to know to share work
_VERSION = 4
FOOTER_KEY = "pas.stage"
SPLITS_KIND = "splits"
ITEMS = "items"  # kept with a split's ingredients, though the data's digest determines it
_EXAMPLES = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("id", pa.string()),
        pa.field("question", pa.string()),
        pa.field("choices", pa.list_(pa.string())),
        pa.field("label", pa.int32()),
        pa.field("group", pa.string()),
        pa.field("stratum", pa.string()),
        pa.field("fact", pa.string()),
        pa.field("positions", pa.list_(pa.int32())),
        pa.field("roles", pa.list_(pa.string())),
        pa.field("prefix", pa.string()),
        pa.field("turns", pa.list_(pa.list_(pa.string(), 2))),
    ]
)


class Stage(NamedTuple):
    """Where a step's result is stored, and what determines it.

    Attributes:
        address: `stages/<kind>/<hash>.parquet`.
        ingredients: JSON-able, by name; everything that changes the result. They are kept in the
            file's footer, to show why two results differ.
    """

    address: str
    ingredients: dict[str, Any]

    @property
    def metadata(self) -> dict[str, str]:
        """What to put into the file's footer."""
        return {FOOTER_KEY: json.dumps(self.ingredients)}


def stage(lake: Lake, kind: str, **ingredients: Any) -> Stage:
    """Return the stage that these ingredients determine.

    Args:
        lake: The lake.
        kind: Name of the step.
        **ingredients: JSON-able.
    """
    plain = json.loads(json.dumps(ingredients))
    return Stage(lake.address(STAGES, kind, f"{_name(_VERSION, kind, plain)}.parquet"), plain)


def check_stage(address: str, parquet: pq.ParquetFile, *, values: bool) -> None:
    """Check that a stage's file is the one that its address names.

    Args:
        address: Where the file is stored.
        parquet: The file.
        values: Decode the rows too.

    Raises:
        ValueError: With the reason.
    """
    metadata = parquet.schema_arrow.metadata or {}
    ingredients = json.loads(metadata.get(FOOTER_KEY.encode(), b"{}"))
    path = PurePosixPath(address)
    if path.parent.name == SPLITS_KIND:
        ingredients.pop(ITEMS, None)
    names = (_name(version, path.parent.name, ingredients) for version in range(1, _VERSION + 1))
    # Older files did not keep their ingredients.
    if ingredients and path.stem not in names:
        raise ValueError("the address is not that of its ingredients")
    if values:
        parquet.read()


def _name(version: int, kind: str, ingredients: dict[str, Any]) -> str:
    text = json.dumps([version, kind, ingredients], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_ingredients(lake: Lake, address: str) -> dict[str, Any]:
    """Read what a stage was made from, out of its file's footer.

    Returns:
        Empty for a file of an older version, which did not keep them.

    Raises:
        UserError: If there is no such file, or it cannot be read.
    """
    try:
        with lake.open(address) as handle:
            metadata = pq.read_metadata(handle).metadata or {}
    except FileNotFoundError as error:
        raise UserError(
            f"lake {lake.name}: there is no {address}; give the address of a file in the lake"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"lake {lake.name}: {address} cannot be read ({error})") from error
    ingredients: dict[str, Any] = json.loads(metadata.get(FOOTER_KEY.encode(), b"{}"))
    return ingredients


def data_digest(lake: Lake, split_address: str) -> str:
    """Return the digest of the data that a split was made from.

    It is of the examples alone: another seed, cap or protocol gives another split of the same data.
    """
    # A split of an older version did not keep its ingredients; its name stands for both.
    found = _of_data(lake, split_address).get("data")
    return str(found or PurePosixPath(split_address).stem)


def data_items(lake: Lake, split_address: str) -> int | None:
    """Return how many items the data have that a split was made from; None in older files."""
    found: int | None = _of_data(lake, split_address).get(ITEMS)
    return found


def skipped_rows(lake: Lake, split_address: str) -> list[str]:
    """Return the rows of the source that were left out of a split's data, with the reasons."""
    return list(_of_data(lake, split_address).get("skipped", ()))


def _of_data(lake: Lake, split_address: str) -> dict[str, Any]:
    """Return the ingredients of a split before worked examples were added."""
    ingredients = read_ingredients(lake, split_address)
    while "data" not in ingredients and "split" in ingredients:
        ingredients = read_ingredients(lake, ingredients["split"])
    return ingredients


def split_table(split: Split) -> pa.Table:
    """Return the three parts of a data set as a table, choices in the order shown."""
    rows = [
        {
            "split": name,
            "id": e.id,
            "question": e.question,
            "choices": list(e.choices),
            "label": e.label,
            "group": e.group,
            "stratum": e.stratum,
            "fact": e.fact,
            "positions": list(e.positions),
            "roles": list(e.roles),
            "prefix": e.prefix,
            "turns": [list(turn) for turn in e.turns],
        }
        for name, part in zip(SPLITS, split, strict=True)
        for e in part
    ]
    return pa.Table.from_pylist(rows, schema=_EXAMPLES)


def read_split(lake: Lake, address: str) -> Split:
    """Read the split that a `split_table` was written from."""
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for row in lake.read_table(address).to_pylist():
        part = parts[row.pop("split")]
        sequences: dict[str, Sequence[Any]] = {
            name: tuple(row.pop(name)) for name in ("choices", "positions", "roles")
        }
        # A split of an older version has no turns.
        sequences["turns"] = tuple(map(tuple, row.pop("turns", ())))
        part.append(Example(**row, **sequences))  # type: ignore[arg-type]
    return Split(*(tuple(parts[name]) for name in SPLITS))
