"""Shared parts of the measurements: clock, memory, facts about the machine, tables."""

import ctypes
import gc
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

_LIBRARIES = ("torch", "transformers", "numpy", "steering-vectors")
_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
)


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of every contender, `repeats` times each.

    The contenders take turns, and every round starts with another one, so that a slower or shared
    machine affects all of them in the same way.
    """
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            start = perf_counter()
            contenders[name]()
            if turn >= warmup:
                times[name].append(perf_counter() - start)
    return times


def fastest(options: Mapping[int, Callable[[], object]]) -> int:
    """Return the fastest option, by one warm run of each after a cold run of the first."""
    next(iter(options.values()))()
    taken = {option: min(interleaved({"": run}, 1, 0)[""]) for option, run in options.items()}
    return min(taken, key=taken.__getitem__)


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Return the median over the rounds of theirs / ours, each taken within one round."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def matmul_rate(shapes: Sequence[tuple[int, int, int]], seconds: float = 0.4) -> dict[str, float]:
    """fp32 GFLOP/s of `[m, k] x [k, n]` for every (m, k, n), the best of repeated runs.

    The best and not the median: it serves as what the machine can do, to compare with.
    """
    rates = {}
    for m, k, n in shapes:
        # The weight has the memory layout of a linear layer.
        left, weight = torch.randn(m, k), torch.randn(n, k)
        best, end = float("inf"), perf_counter() + seconds
        with torch.inference_mode():
            torch.nn.functional.linear(left, weight)
            while perf_counter() < end:
                start = perf_counter()
                torch.nn.functional.linear(left, weight)
                best = min(best, perf_counter() - start)
        rates[f"{m}x{k} . {k}x{n}"] = 2 * m * k * n / best / 1e9
    return rates


class Peak:
    """`total` and `above` the level at the start, in MB; None where the system tells neither."""

    total: float | None = None
    above: float | None = None


@contextmanager
def peak_rss() -> Iterator[Peak]:
    """The highest resident memory of this process within the context (Linux)."""
    peak = Peak()
    gc.collect()
    try:
        # Memory that was freed but is still held would hide what the context needs.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmHWM")
    except (OSError, AttributeError):
        yield peak
        return
    yield peak
    peak.total = _status("VmHWM")
    peak.above = peak.total - before


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")


def machine() -> dict[str, Any]:
    """Return facts about the machine that affect the numbers, without names or paths."""
    facts: dict[str, Any] = {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "python": platform.python_version(),
    }
    if Path("/proc/meminfo").exists():
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        facts["memory_gb"] = round(kilobytes * 1024 / 1e9, 1)
    if Path("/proc/cpuinfo").exists():
        info = Path("/proc/cpuinfo").read_text()
        have = set(info.split())
        facts["cpu_flags"] = [flag for flag in _FLAGS if flag in have]
    facts["libraries"] = {}
    for name in _LIBRARIES:
        try:
            facts["libraries"][name] = version(name)
        except PackageNotFoundError:
            facts["libraries"][name] = None
    return facts


def show(title: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> None:
    """Print a table, with columns in the order of the rows' keys."""
    from rich.console import Console
    from rich.table import Table

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    console = Console(width=None if Console().is_terminal else 130)
    console.print(table)
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def save(path: Path | None, document: Mapping[str, Any]) -> None:
    """Write the measurement, its date and machine as JSON; without a path, write nothing."""
    if path is None:
        return
    whole = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**whole, **document}, indent=1) + "\n")
    print(f"written: {path}")
