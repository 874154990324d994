"""Content-addressed results of a pipeline's steps, beside the activations in the lake.

The address is a hash of everything that determines the content, so a step whose file is there
need not run again, whichever flow or machine asks.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pas.data.examples import Example
from pas.data.splits import SPLITS, Split
from storage.lake.files import Lake

STAGES = "stages"
_VERSION = 3
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
    ]
)


def stage_address(lake: Lake, kind: str, *determinants: Any) -> str:
    """Return `stages/<kind>/<hash>.parquet`.

    Args:
        lake: The lake.
        kind: Name of the step.
        *determinants: JSON-able; everything that changes the result.
    """
    text = json.dumps([_VERSION, kind, *determinants], sort_keys=True)
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return lake.address(STAGES, kind, f"{name}.parquet")


def write_split(lake: Lake, address: str, split: Split) -> str:
    """Write the three parts of a data set, choices in the order shown, and return the address."""
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
        }
        for name, part in zip(SPLITS, split, strict=True)
        for e in part
    ]
    return lake.write_table(address, pa.Table.from_pylist(rows, schema=_EXAMPLES))


def read_split(lake: Lake, address: str) -> Split:
    """Read what `write_split` wrote."""
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for row in lake.read_table(address).to_pylist():
        part = parts[row.pop("split")]
        sequences: dict[str, Sequence[Any]] = {
            name: tuple(row.pop(name)) for name in ("choices", "positions", "roles")
        }
        part.append(Example(**row, **sequences))  # type: ignore[arg-type]
    return Split(*(tuple(parts[name]) for name in SPLITS))
