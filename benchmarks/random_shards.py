"""A temporary lake of random activations, of a given size."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FINGERPRINT = "0123456789abcdef" * 2
SITE = "residual"
# Shares of all prompts that the methods weight: PASf takes full prompts, the others statements.
SHARES = {"PASf": 1 / 2, "iPASa": 1 / 3, "iPASwo": 1 / 3}
ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


def write_shards(folder: Path, arguments: argparse.Namespace) -> None:
    """Write the shards and the weights.

    All shards use one block of normal values, scaled and rotated by the shard's number, because
    drawing all values would take longer than the measurements.
    """
    import torch

    from pas.engine.extract import Activations
    from storage.lake.files import open_lake
    from storage.lake.shards import write_shard
    from storage.settings import Settings

    lake = open_lake(str(folder))
    layers, width = arguments.layers, arguments.d_model
    kind = getattr(torch, arguments.dtype)
    prompts = count_prompts(arguments)
    # A question of the tasks in docs/method.md, "Models and tasks", has 30 to 80 tokens.
    n_tokens = 50
    per_shard = min(prompts, max(1, Settings.model_fields["shard_tokens"].default // n_tokens))
    block = torch.randn(per_shard, layers, width, generator=torch.Generator().manual_seed(0))
    # Residual streams grow with depth; a shift keeps the contrast small against the mean.
    block = block * torch.linspace(0.5, 4.0, layers)[:, None] + 0.5

    def write(start: int) -> None:
        count = min(per_shard, prompts - start)
        keys = tuple(prompt_key(n) for n in range(start, start + count))
        number = start // per_shard
        values = (block[:count] * (1 + number % 97 / 100)).roll(number % width, dims=2).to(kind)
        given = Activations(keys, (n_tokens,) * count, tuple(range(layers)), values)
        write_shard(lake, FINGERPRINT, SITE, given, {"id": "random"})

    with ThreadPoolExecutor() as pool:
        # list() raises what a thread raised.
        list(pool.map(write, range(0, prompts, per_shard)))
    pq.write_table(random_weights(prompts), folder / "weights.parquet")


def count_prompts(arguments: argparse.Namespace) -> int:
    size = arguments.layers * arguments.d_model * ITEM_BYTES[arguments.dtype]
    return max(4, round(arguments.gigabytes * 1e9 / size))


def prompt_key(number: int) -> bytes:
    """Return the 16-byte key of a prompt."""
    return blake2b(str(number).encode(), digest_size=16).digest()


def random_weights(prompts: int) -> pa.Table:
    """Weight a random share of the prompts per method: one half by +1/n, the other by -1/n."""
    from storage.catalogue.estimate import WEIGHTS

    generator = np.random.default_rng(1)
    tables = []
    for method, share in SHARES.items():
        chosen = generator.permutation(prompts)[: max(2, round(share * prompts))]
        half = len(chosen) // 2
        weight = np.where(np.arange(len(chosen)) < half, 1 / half, -1 / (len(chosen) - half))
        keys = pa.array([prompt_key(int(n)) for n in chosen], pa.binary(16))
        columns = [pa.array([method] * len(chosen)), keys, pa.array(weight)]
        tables.append(pa.table(columns, schema=WEIGHTS))
    return pa.concat_tables(tables)
