"""The arithmetic that a sweep needs at least, for comparison with the measured time."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import nn

from pas.engine.prefix import Steering
from pas.models.loading import LoadedModel
from pas.models.sites import decoder_blocks


class Shape(NamedTuple):
    """Of one decoder block, and how many there are.

    `linear` counts the weights of all its matrices, `key_value` those that make keys and values;
    `width` is heads x head dimension.
    """

    blocks: int
    linear: int
    key_value: int
    width: int
    d_model: int


def shape_of(model: LoadedModel) -> Shape:
    """Return the shape of a Llama-like model, with projections named k_proj and v_proj."""
    block = decoder_blocks(model.model)[0]
    matrices = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}
    sizes = {name: matrix.weight.numel() for name, matrix in matrices.items()}
    key_value = sum(size for name, size in sizes.items() if name.endswith(("k_proj", "v_proj")))
    (query,) = (matrix for name, matrix in matrices.items() if name.endswith("q_proj"))
    return Shape(
        len(decoder_blocks(model.model)),
        sum(sizes.values()),
        key_value,
        query.out_features,
        query.in_features,
    )


def matmul_shapes(model: LoadedModel, rows: int = 1024) -> list[tuple[int, int, int]]:
    """Return the products (m, k, n) of a block at `rows` tokens, and a large square one."""
    block = decoder_blocks(model.model)[0]
    found = {
        (rows, matrix.in_features, matrix.out_features)
        for matrix in block.modules()
        if isinstance(matrix, nn.Linear)
    }
    return [*sorted(found), (2048, 2048, 2048)]


def prefill_flops(shape: Shape, tokens: int, before: int, outputs: int) -> int:
    """A pass over `tokens` that follow `before` ones whose keys and values are at hand.

    `outputs` positions are read after the last block; of the others that block needs no more
    than keys and values.
    """
    seen = tokens * before + tokens * (tokens + 1) // 2
    whole = 2 * shape.linear * tokens + 4 * shape.width * seen
    read = outputs * (2 * (shape.linear - shape.key_value) + 4 * shape.width * (before + tokens))
    return (shape.blocks - 1) * whole + 2 * shape.key_value * tokens + read


def row_flops(shape: Shape, layer: int, context: int) -> int:
    """One configuration of one item: a single position through the blocks after `layer`."""
    return (shape.blocks - 1 - layer) * (2 * shape.linear + 4 * shape.width * context)


def sweep_flops(
    shape: Shape, sequences: Sequence[Sequence[int]], rows: Sequence[Steering], n_letters: int
) -> dict[str, int]:
    """Return the FLOPs of all items and configurations; shared beginnings count once."""
    ordered = sorted(tuple(ids) for ids in sequences)
    shared = [0, *(_common(left, right) for left, right in pairwise(ordered))]
    head = 2 * shape.d_model * n_letters * (len(rows) + 1)
    return {
        "prefill": sum(
            prefill_flops(shape, len(ids) - known, known, 1)
            for ids, known in zip(ordered, shared, strict=True)
        ),
        "prefill_unshared": sum(prefill_flops(shape, len(ids), 0, 1) for ids in sequences),
        "rows": sum(row_flops(shape, row.layer, len(ids)) for ids in sequences for row in rows),
        "head": head * len(sequences),
        "tokens": sum(map(len, sequences)),
        "shared_tokens": sum(shared),
    }


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many leading tokens are equal, without the last token of `right`."""
    count = 0
    while count < min(len(left), len(right) - 1) and left[count] == right[count]:
        count += 1
    return count
