"""Choose the size of forward passes from the free memory, and halve it if memory runs out."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import psutil
import torch

from pas.models.loading import LoadedModel

Result = TypeVar("Result")
_SHARE = 0.25  # of the free memory; the rest is for what the estimate does not count
_FEWEST = 64
# Rows beyond what fills the matrix units only cost memory, and on a CPU also cache.
_MOST = {"cpu": (2048, 2048)}
_MOST_ELSEWHERE = (16384, 32768)


class Budget(NamedTuple):
    """Limits of one forward pass.

    Attributes:
        tokens: Tokens of one prefill; padded ones where sequences are padded.
        rows: Items x configurations x steered tokens of one walk.
    """

    tokens: int = 2048
    rows: int = 2048


def free_bytes(device: torch.device) -> int:
    """Return how many bytes are free on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def fitting(
    model: LoadedModel, length: int, tokens: int | None = None, rows: int | None = None
) -> Budget:
    """Return limits for which a quarter of the free memory should be enough.

    Args:
        model: The model.
        length: Longest sequence, in tokens.
        tokens: The limit of tokens, if it is set by the caller.
        rows: The limit of rows, if it is set by the caller.
    """
    config = model.model.config.get_text_config()
    width, size = config.hidden_size, model.model.dtype.itemsize
    inner = getattr(config, "intermediate_size", None) or 4 * width
    if not isinstance(inner, int):  # some models vary it by block
        inner = max(inner)
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    passing = (8 * width + 3 * inner) * size  # one token's intermediate values in a block
    scores = 12 * heads * length  # attention scores in float32, three copies
    cached = 2 * width * shared // heads * model.n_layers * size  # keys and values
    available = _SHARE * min(map(free_bytes, model.devices))
    most = _MOST.get(model.device.type, _MOST_ELSEWHERE)
    fits = (int(available // (cached + passing + scores)), int(available // (passing + scores)))
    chosen = [max(_FEWEST, min(fit, top)) for fit, top in zip(fits, most, strict=True)]
    return Budget(tokens or chosen[0], rows or chosen[1])


def halving(
    batches: Iterable[list[int]], run: Callable[[list[int]], Result]
) -> Iterator[tuple[list[int], Result]]:
    """Run batches of indices. A batch for which memory runs out is cut in two.

    Args:
        batches: Indices of each batch.
        run: Runs one batch.

    Yields:
        The indices of each batch that ran, and its result.

    Raises:
        torch.OutOfMemoryError: If a batch of one index does not fit.
    """
    todo = list(batches)
    while todo:
        chosen = todo.pop(0)
        try:
            result = run(chosen)
        except torch.OutOfMemoryError:
            if len(chosen) == 1:
                raise
            half = len(chosen) // 2
            todo[:0] = [chosen[:half], chosen[half:]]
            continue
        yield chosen, result
