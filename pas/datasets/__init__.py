"""The built-in tasks. Each module turns the rows of one source into examples."""

from pas.datasets import (
    arc,
    bbq,
    commonsenseqa,
    ethics,
    lsat,
    mmlu,
    openbookqa,
    outlook,
    persona,
    sycophancy,
    truthfulqa,
)
from pas.datasets.benchmark import Benchmark

_MODULES = (
    outlook,
    bbq,
    ethics,
    sycophancy,
    persona,
    truthfulqa,
    openbookqa,
    arc,
    lsat,
    commonsenseqa,
    mmlu,
)


def benchmarks() -> dict[str, Benchmark]:
    """Return the built-in tasks by name."""
    return {b.name: b for module in _MODULES for b in module.BENCHMARKS}
