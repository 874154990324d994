"""Time and memory of the estimator: DuckDB's aggregation, reading the shards, and NumPy.

    python -m benchmarks.estimator --gigabytes 2 --out FOLDER

Random activations are written as shards of a throwaway lake in FOLDER. Each contender then runs in
a process of its own, so that its peak resident memory is its own:

    estimate  `storage.catalogue.estimate.estimate`, three methods at every layer
    read      pyarrow decodes every row group of the same files
    verify    the same files are verified, as before their first use; `estimate` does it too
    numpy     one layer after the other as a float32 matrix, weights @ matrix in float64
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.random_shards import (
    FINGERPRINT,
    ITEM_BYTES,
    SHARES,
    SITE,
    count_prompts,
    write_shards,
)

CONTENDERS = ("estimate", "read", "verify", "numpy")
TOLERANCE = 1e-5


def measure_estimate(folder: Path, layers: int, memory_limit: str | None) -> np.ndarray:
    """Return the directions `[methods, layers, width]` of the project's own query."""
    from storage.catalogue.estimate import estimate
    from storage.lake.files import open_lake

    weights = pq.read_table(folder / "weights.parquet")
    found = estimate(
        open_lake(str(folder)), FINGERPRINT, SITE, weights, range(layers), memory_limit=memory_limit
    )
    rows = {(row["method"], row["layer"]): row["direction"] for row in found.to_pylist()}
    return np.array([[rows[method, layer] for layer in range(layers)] for method in SHARES])


def measure_read(folder: Path) -> None:
    """Decode every row group of every shard, without keeping any."""
    for path in shard_paths(folder):
        with pq.ParquetFile(path) as parquet:
            for group in range(parquet.num_row_groups):
                parquet.read_row_group(group)


def measure_verify(folder: Path) -> None:
    """Verify every shard as its first reader in a process does."""
    from storage.lake.files import open_lake
    from storage.lake.verification import intact_files

    lake = open_lake(str(folder))
    files = lake.files("activations")
    if intact_files(lake, files) != [*files]:
        raise SystemExit("a shard is damaged")


def measure_numpy(folder: Path, layers: int) -> np.ndarray:
    """Return the directions `[methods, layers, width]`, each layer's prompts in memory at once."""
    table = pq.read_table(folder / "weights.parquet")
    weight: dict[str, dict[bytes, float]] = {method: {} for method in SHARES}
    for row in table.to_pylist():
        weight[row["method"]][row["prompt_key"]] = row["weight"]
    out = []
    for layer in range(layers):
        keys, matrix = layer_matrix(folder, layer)
        weights = np.array([[weight[m].get(key, 0.0) for key in keys] for m in SHARES])
        # NumPy makes a float64 copy of the matrix here.
        out.append(weights @ matrix)
    return np.stack(out, axis=1)


def layer_matrix(folder: Path, layer: int) -> tuple[list[bytes], np.ndarray]:
    """Return the keys and the float32 activations `[n, width]` of one layer."""
    keys: list[bytes] = []
    blocks = []
    for path in shard_paths(folder):
        with pq.ParquetFile(path) as parquet:
            group = parquet.read_row_group(layer)
        keys += group["prompt_key"].to_pylist()
        vectors = group["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy(zero_copy_only=True)
        blocks.append(flat.reshape(len(group), -1).astype(np.float32))
    return keys, np.concatenate(blocks)


def shard_paths(folder: Path) -> list[Path]:
    return sorted((folder / "activations").glob("*/*/*.parquet"))


def run_contender(arguments: argparse.Namespace, folder: Path) -> None:
    """Run one contender in this process and print time and memory as one line of JSON."""
    contenders: dict[str, Callable[[], np.ndarray | None]] = {
        "write": lambda: write_shards(folder, arguments),
        "estimate": lambda: measure_estimate(folder, arguments.layers, arguments.memory_limit),
        "read": lambda: measure_read(folder),
        "verify": lambda: measure_verify(folder),
        "numpy": lambda: measure_numpy(folder, arguments.layers),
    }

    cpu_start, start = time.process_time(), time.perf_counter()
    directions = contenders[arguments.contender]()
    seconds = time.perf_counter() - start
    if isinstance(directions, np.ndarray):
        np.save(folder / f"{arguments.contender}.npy", directions)
    cpu_seconds = time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak}))


def in_fresh_process(folder: Path, contender: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.estimator", *sys.argv[1:]]
    command += ["--contender", contender, "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0 or "MemoryError" in done.stderr:
        return {"failed": f"out of memory (status {done.returncode})"}
    if done.returncode:
        raise SystemExit(f"{contender}: {done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def numpy_fits(prompts: int, width: int) -> bool:
    """Return whether float32 blocks, their concatenation and a float64 copy fit in memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return prompts * width * (4 + 8) < 0.9 * max(free, _available())


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def largest_relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference of two directions, in units of the reference's L2 norm."""
    error = np.abs(found - reference).max(axis=2) / np.linalg.norm(reference, axis=2)
    return float(error.max())


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the contenders in turn, `repeats` times, and summarise the results."""
    prompts = count_prompts(arguments)
    values = prompts * arguments.layers * arguments.d_model
    contenders = [c for c in CONTENDERS if c != "numpy" or numpy_fits(prompts, arguments.d_model)]
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(arguments.repeats):
        for name in contenders:
            measured[name].append(in_fresh_process(folder, name))
    results = {}
    for name in CONTENDERS:
        runs = [run for run in measured.get(name, []) if "failed" not in run]
        if not runs:
            reason = measured[name][0]["failed"] if name in measured else "does not fit in memory"
            results[name] = {"failed": reason}
            continue
        seconds = statistics.median(run["seconds"] for run in runs)
        results[name] = {
            "seconds": seconds,
            "all_seconds": [run["seconds"] for run in runs],
            "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
            "values_per_second": values / seconds,
            "peak_mb": max(run["peak_mb"] for run in runs),
        }
    for result in results.values():
        for base in ("read", "numpy"):
            if "seconds" in result and "seconds" in results[base]:
                result[f"times_{base}"] = result["seconds"] / results[base]["seconds"]
    error = None
    if "seconds" in results["numpy"]:
        found, reference = np.load(folder / "estimate.npy"), np.load(folder / "numpy.npy")
        error = largest_relative_error(found, reference)
        if not error <= TOLERANCE:
            raise SystemExit(f"estimate and numpy differ by {error:.1e} (limit {TOLERANCE:.0e})")
    paths = shard_paths(folder)
    weighted = pq.read_metadata(folder / "weights.parquet").num_rows
    return {
        "prompts": prompts,
        "shards": len(paths),
        "file_bytes": sum(path.stat().st_size for path in paths),
        "values": values,
        "weighted_elements": weighted * arguments.layers * arguments.d_model,
        "largest_relative_error": error,
        "results": results,
    }


def table_rows(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, result in document["results"].items():
        if "failed" in result:
            yield {"contender": name, "failed": result["failed"]}
            continue
        yield {
            "contender": name,
            "seconds": round(result["seconds"], 2),
            "CPU s": round(result["cpu_seconds"], 2),
            "x read": _rounded(result.get("times_read")),
            "x numpy": _rounded(result.get("times_numpy")),
            "M values/s": round(result["values_per_second"] / 1e6),
            "peak MB": round(result["peak_mb"]),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimator", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of vectors, uncompressed")
    parser.add_argument("--d-model", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--dtype", choices=ITEM_BYTES, default="float16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-limit", help="of DuckDB, such as 500MB; default: estimate's own")
    parser.add_argument("--out", type=Path, required=True, help="folder for data and result")
    parser.add_argument("--keep", action="store_true", help="keep the shards")
    parser.add_argument("--contender", choices=("write", *CONTENDERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.out / "lake"
    if arguments.contender:
        run_contender(arguments, arguments.out)
        return
    if folder.exists():
        parser.error(f"{folder} exists: remove it or give another --out")
    try:
        # A process inherits the peak memory of its parent, so this process must stay small.
        written = in_fresh_process(folder, "write")
        document = compare(arguments, folder) | {"write_seconds": written["seconds"]}
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    from benchmarks.timing import save, show  # with torch, which would count as memory above

    settings = {
        name: getattr(arguments, name)
        for name in ("gigabytes", "d_model", "layers", "dtype", "repeats", "memory_limit")
    }
    show(
        f"{arguments.gigabytes:g} GB in {document['shards']} shards, "
        f"{document['prompts']} prompts, {arguments.layers} layers x {arguments.d_model}, "
        f"{arguments.dtype}",
        list(table_rows(document)),
    )
    save(
        arguments.out / "estimator.json", {"benchmark": "estimator", "options": settings} | document
    )


if __name__ == "__main__":
    main()
