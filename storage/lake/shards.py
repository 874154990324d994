"""Activation shards: Parquet files of last-token activations, one row per prompt and layer.

A shard holds `prompt_key`, `layer` and `vector`, sorted by layer and then key, with one row group
per layer, so that a query for one layer reads only that layer. Its name is the content key of its
prompts and layers: writing the same prompts again gives the same file.

Only methods of the tensors are called, so readers of shards do not import torch.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pas.errors import UserError
from storage.lake.files import ACTIVATIONS_FOLDER
from storage.lake.shard_checks import check, check_schema, read_group

if TYPE_CHECKING:
    import torch

    from pas.engine.extract import Activations
    from storage.lake.files import Lake

SCHEMA_VERSION = 1
FLOAT16_MAX = 65504.0
FOOTER_KEY = "pas.shard"

_LIBRARIES = ("torch", "transformers", "pyarrow")
_ADDRESS = re.compile(r"activations/model=([^/]+)/site=([^/]+)/([0-9a-f]{32})\.parquet")


def shard_key(keys: Iterable[bytes], layers: Iterable[int]) -> str:
    """Name a shard by its content: 32 hex digits, the same for any order of keys and layers."""
    digest = blake2b(f"shard {SCHEMA_VERSION}".encode(), digest_size=16)
    digest.update(f" layers {sorted(set(layers))} keys ".encode())
    for key in sorted(set(keys)):
        digest.update(key)
    return digest.hexdigest()


def shard_folder(lake: Lake, fingerprint: str, site: str) -> str:
    """The folder of one model's shards at one site."""
    return lake.address(ACTIVATIONS_FOLDER, f"model={fingerprint}", f"site={site}")


def parse_address(address: str) -> tuple[str, str, str] | None:
    """Fingerprint, site and shard key of a shard's address, or None if it is not one."""
    match = _ADDRESS.fullmatch(address)
    return (match[1], match[2], match[3]) if match else None


def write_shard(
    lake: Lake,
    fingerprint: str,
    site: str,
    activations: Activations,
    model_meta: Mapping[str, Any],
) -> str:
    """Write one shard and return its address.

    float32 activations are stored as FLOAT32. float16 and bfloat16 ones are stored as FLOAT16 when
    every value of the shard fits (|x| <= 65504), else as FLOAT32. bfloat16 in FLOAT16 is exact
    from 2^-17 upwards; smaller values are rounded by at most 2^-25.

    Args:
        lake: Where to.
        fingerprint: Of the model, 32 hex digits.
        site: Where the activations were read, such as `residual`.
        activations: `values` is `[n_prompts, n_layers, d_model]` float32, float16 or bfloat16. Of
            a key that occurs twice the first is kept.
        model_meta: The model's specification, JSON-able, kept in the footer.

    Raises:
        UserError: If any value is not finite; nothing is written then.
        ValueError: If shapes disagree or the dtype is none of the three.
    """
    _check_shapes(activations)
    _refuse_non_finite(activations)
    values, dtype = activations.values.detach().cpu(), _dtype(activations.values)
    # As a Python float: compared in bfloat16, 65504 would be rounded up to 65536.
    half = dtype != "float32" and float(values.abs().max()) <= FLOAT16_MAX

    first: dict[bytes, int] = {}
    for index, key in enumerate(activations.keys):
        first.setdefault(key, index)
    keys = sorted(first)
    rows = [first[key] for key in keys]
    layer_order = sorted(range(len(activations.layers)), key=lambda i: activations.layers[i])
    # One piece per layer keeps the list offsets within 32 bits for large shards.
    table = pa.concat_tables(
        pa.table(
            {
                "prompt_key": pa.array(keys, pa.binary(16)),
                "layer": pa.array(np.full(len(keys), activations.layers[i]), pa.int16()),
                "vector": _vectors(values[rows, i].half() if half else values[rows, i].float()),
            }
        )
        for i in layer_order
    )
    footer = {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": fingerprint,
        "site": site,
        "model": dict(model_meta),
        "libraries": _library_versions(),
        "dtype": dtype,
        "n_tokens": [activations.n_tokens[i] for i in rows],
    }
    return _put(lake, table, keys, activations.layers, footer)


def merge_shards(lake: Lake, addresses: Sequence[str]) -> str:
    """Write the rows of shards into one shard, and return its address; the others stay.

    Args:
        lake: Where they are.
        addresses: Shards of one model and site that agree in `kind_of`. Of a prompt that several
            have, the first is kept.

    Raises:
        FileNotFoundError: If one is gone.
        DamagedError: If one is damaged.
    """
    footers = [read_footer(lake, address) for address in addresses]
    first: dict[bytes, int] = {}  # place among the rows of the first layer
    n_tokens = list[int]()
    by_layer = defaultdict[int, list[pa.Table]](list)
    for address, footer in zip(addresses, footers, strict=True):
        table = lake.read_table(address)
        n_prompts = footer["n_prompts"]
        for start in range(0, len(table), n_prompts):
            part = table.slice(start, n_prompts)
            by_layer[part["layer"][0].as_py()].append(part)
        for index, key in enumerate(table["prompt_key"].slice(0, n_prompts).to_pylist()):
            first.setdefault(key, len(n_tokens) + index)
        n_tokens += footer["n_tokens"]
    keys = sorted(first)
    rows = [first[key] for key in keys]
    merged = pa.concat_tables(
        pa.concat_tables(by_layer[layer]).combine_chunks().take(rows) for layer in sorted(by_layer)
    )
    footer = footers[0] | {"n_tokens": [n_tokens[row] for row in rows]}
    return _put(lake, merged.replace_schema_metadata(None), keys, [*by_layer], footer)


def kind_of(lake: Lake, address: str) -> tuple[Any, ...]:
    """Return what shards must have in common to be merged: layers, types, and the model's facts.

    Raises:
        ValueError: If the footer cannot be read or is not one of a shard.
    """
    try:
        with lake.open(address) as handle, pq.ParquetFile(handle) as parquet:
            footer, schema = _footer(parquet.metadata), parquet.schema_arrow
            groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"shard {address}: {error}") from error
    column, stored = schema.get_field_index("layer"), str(schema.field("vector").type)
    layers = tuple(group.column(column).statistics.min for group in groups)
    facts = (footer[name] for name in ("model", "libraries", "dtype"))
    return (layers, stored, *(json.dumps(fact, sort_keys=True) for fact in facts))


def _put(
    lake: Lake,
    table: pa.Table,
    keys: Sequence[bytes],
    layers: Iterable[int],
    footer: dict[str, Any],
) -> str:
    """Write the rows of a shard, sorted by layer and key, under the name of its content."""
    name = shard_key(keys, layers)
    footer |= {"key": name, "n_prompts": len(keys)}
    address = f"{shard_folder(lake, footer['fingerprint'], footer['site'])}/{name}.parquet"
    metadata = {FOOTER_KEY: json.dumps(footer, sort_keys=True)}
    return lake.write_table(
        address, table, metadata, row_group_rows=len(keys), uncoded=("prompt_key", "vector")
    )


def read_footer(lake: Lake, address: str) -> dict[str, Any]:
    """Read the footer that `write_shard` wrote, without the rows.

    Returns:
        `schema_version, fingerprint, site, model, libraries, dtype, n_prompts, n_tokens` (the
        tokens of each prompt in the order of the keys); `dtype` is that of the activations.

    Raises:
        ValueError: If the footer cannot be read or is not one of a shard.
    """
    try:
        with lake.open(address) as handle:
            return _footer(pq.read_metadata(handle))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"shard {address}: {error}") from error


def check_shard(address: str, parquet: pq.ParquetFile, *, values: bool) -> None:
    """Check everything that readers of a shard rely on.

    That is the schema, and what the footer says against the address. If asked for, the rows too:
    the content key, one sorted row group per layer with the same keys, and finite vectors of one
    width.

    Args:
        address: Where the shard is stored.
        parquet: The shard.
        values: Read the rows.

    Raises:
        ValueError: With the reason.
    """
    footer = _footer(parquet.metadata)
    check_schema(parquet.schema_arrow)
    stored = parquet.schema_arrow.field("vector").type.value_type
    exact = footer["dtype"] != "float32" or stored == pa.float32()
    check(exact, f"vectors of {footer['dtype']} are stored as {stored}")
    if not values:
        named = (footer["fingerprint"], footer["site"], footer["key"])
        check(parse_address(address) == named, "the address is not that of the content")
        return
    layers, keys, width = list[int](), list[bytes](), -1
    for group in range(parquet.num_row_groups):
        layer, group_keys, group_width = read_group(parquet.read_row_group(group))
        layers.append(layer)
        check(group == 0 or group_keys == keys, f"layer {layer} has other prompts")
        check(group == 0 or group_width == width, f"layer {layer} has another width")
        keys, width = group_keys, group_width
    check(layers == sorted(set(layers)), "layers are not sorted")
    check(len(keys) == footer["n_prompts"] == len(footer["n_tokens"]), "number of prompts differs")
    expected = (footer["fingerprint"], footer["site"], shard_key(keys, layers))
    check(parse_address(address) == expected, "the address is not that of the content")


def _check_shapes(activations: Activations) -> None:
    values, keys, layers = activations.values, activations.keys, activations.layers
    if _dtype(values) not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"activations of dtype {values.dtype} cannot be stored")
    if values.ndim != 3 or values.shape[:2] != (len(keys), len(layers)) or 0 in values.shape:
        raise ValueError(
            f"activations of shape {tuple(values.shape)} for {len(keys)} prompts and "
            f"{len(layers)} layers"
        )
    if len(activations.n_tokens) != len(keys) or len(set(layers)) != len(layers):
        raise ValueError("activations need one token count per prompt and distinct layers")
    if any(len(key) != 16 for key in keys):
        raise ValueError("prompt keys must be 16 bytes")


def _refuse_non_finite(activations: Activations) -> None:
    finite = activations.values.isfinite().all(dim=2)
    if bool(finite.all()):
        return
    bad = (~finite).nonzero()
    prompt, layer = bad[0].tolist()
    raise UserError(
        f"activations of prompt {activations.keys[prompt].hex()} at layer "
        f"{activations.layers[layer]} are not finite ({len(bad)} such vectors in this shard). "
        "The model overflows in its dtype: load it with dtype bfloat16 or float32. Nothing was "
        "written."
    )


def _dtype(values: torch.Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def _vectors(values: torch.Tensor) -> pa.ListArray:
    n_rows, width = values.shape
    offsets = pa.array(np.arange(0, (n_rows + 1) * width, width, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values.contiguous().numpy().reshape(-1)))


@cache  # asking takes 4 ms, most of the time that a small shard took
def _library_versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES if find_spec(name)}


def _footer(metadata: pq.FileMetaData) -> dict[str, Any]:
    footer: dict[str, Any] = json.loads((metadata.metadata or {}).get(FOOTER_KEY.encode(), b"{}"))
    check(footer.get("schema_version") == SCHEMA_VERSION, "no footer of this schema version")
    return footer
