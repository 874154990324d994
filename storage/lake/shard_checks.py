"""What every reader of an activation shard relies on, checked on the rows themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def check_schema(schema: pa.Schema) -> None:
    """Fail unless the columns are those of a shard."""
    vectors = (pa.list_(pa.float16()), pa.list_(pa.float32()))
    check(
        schema.names == ["prompt_key", "layer", "vector"]
        and schema.field("prompt_key").type == pa.binary(16)
        and schema.field("layer").type == pa.int16()
        and any(schema.field("vector").type.equals(kind) for kind in vectors),
        f"unexpected columns {schema.names}",
    )


def read_group(group: pa.Table) -> tuple[int, list[bytes], int]:
    """Check one row group by itself.

    Args:
        group: All its rows.

    Returns:
        Its layer, its sorted keys, and the width of its vectors.

    Raises:
        ValueError: For more than one layer, unsorted keys, ragged or non-finite vectors.
    """
    layers = set(group["layer"].to_pylist())
    check(len(layers) == 1, "a row group holds more than one layer")
    layer = int(layers.pop())
    keys: list[bytes] = group["prompt_key"].to_pylist()
    check(keys == sorted(set(keys)), f"keys of layer {layer} are not sorted")
    vectors = group["vector"].combine_chunks()
    widths = set(np.diff(vectors.offsets.to_numpy()).tolist())
    check(len(widths) == 1 and vectors.null_count == 0, f"vectors of layer {layer} are ragged")
    values = vectors.flatten().to_numpy(zero_copy_only=False)
    check(bool(np.isfinite(values).all()), f"layer {layer} holds values that are not finite")
    return layer, keys, widths.pop()


def check(condition: bool, reason: str) -> None:
    """Raise ValueError with the reason unless the condition holds."""
    if not condition:
        raise ValueError(reason)
