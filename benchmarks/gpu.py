"""The engine on a GPU: its rate compared with the device's peak, at a known model's shape.

The weights are random and the items are random token ids with BBQ's lengths, so nothing is
downloaded. Only torch, transformers, numpy, scipy, psutil, safetensors and tqdm are needed.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from benchmarks import work
from benchmarks.gpu_kernels import attention, fused, products, profiled, row_attention
from benchmarks.gpu_letters import agreement
from benchmarks.gpu_model import (
    CHOICES,
    SHAPES,
    EngineInputs,
    build,
    draw,
    grid,
    peak_memory,
    prepared,
    seconds,
    settle,
)
from benchmarks.timing import save, show
from pas.engine.extract import read
from pas.engine.memory import Budget, fitting
from pas.engine.packed import root_of
from pas.engine.prefix import Steering
from pas.engine.selfcheck import covered
from pas.engine.sweep import score_rows
from pas.engine.trie import packs
from pas.methods.grid import layers_of
from pas.models.loading import LoadedModel

TOKEN_BUDGETS = (4096, 8192, 16384, 32768, 65536)
ROW_BUDGETS = (2048, 4096, 8192, 16384, 32768, 65536)
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}  # bf16 TFLOP/s by datasheet, dense, SXM


class Meter:
    """Times runs and returns lines of a table."""

    def __init__(self, model: LoadedModel, peak: float, repeats: int) -> None:
        self.model, self.peak, self.repeats = model, peak, repeats

    def line(
        self, run: Callable[[], object], flops: float, items: int, repeats: int | None = None
    ) -> dict[str, Any]:
        """Return median seconds. The first run has new shapes, so its time is listed separately."""
        with peak_memory(self.model.device) as memory:
            first = seconds(run, self.model.device)
            taken = [seconds(run, self.model.device) for _ in range(repeats or self.repeats)]
        middle = median(taken)
        return {
            "s": middle,
            "first s": first,
            "items/s": items / middle,
            "TFLOP/s": flops / middle / 1e12,
            "of peak": flops / middle / 1e12 / self.peak,
            **{name.replace("_", " "): value for name, value in memory.items()},
            "all s": taken,
        }


def extraction(at: Meter, drawn: EngineInputs, budgets: Sequence[int]) -> list[dict[str, Any]]:
    """Time activations of all prompts and answers to all questions, for every token budget."""
    model, layers = at.model, layers_of("auto", at.model.n_layers)
    flops = work.sweep_flops(work.shape_of(model), drawn.sequences, [], CHOICES)
    # A prompt and the question that it asks are one sequence, so a set.
    needed = work.sweep_flops(work.shape_of(model), list(set(drawn.sequences)), [], CHOICES)
    lines = []
    for budget in budgets:

        def run(budget: int = budget) -> object:
            return read(
                model,
                drawn.prompts,
                layers,
                questions=drawn.questions,
                token_budget=budget,
                engine="prefix",
            )

        units = [[ids] for ids in drawn.sequences]
        n_root = len(root_of(drawn.questions, [p.token_ids for p in drawn.prompts]))
        cut = list(packs(units, budget, n_root))
        found = at.line(run, needed["prefill"] + needed["head"], len(drawn.questions))
        laid = sum(pack.tokens for pack in cut)
        lines.append(
            {
                "token budget": budget,
                "passes": len(cut),
                **found,
                "tokens laid out": laid,
                "tokens laid out/s": laid / found["s"],
                "tokens asked for": flops["tokens"],
            }
        )
    return lines


def sweeping(
    at: Meter,
    drawn: EngineInputs,
    rows: Sequence[Steering],
    budgets: Sequence[Budget],
    repeats: int,
) -> list[dict[str, Any]]:
    """Time all items under all configurations, for every budget."""
    needed = work.sweep_flops(work.shape_of(at.model), drawn.asked, rows, CHOICES)
    flops = needed["prefill"] + needed["rows"] + needed["head"]
    lines = []
    for budget in budgets:

        def run(budget: Budget = budget) -> object:
            return score_rows(at.model, drawn.questions, rows, budget=budget, engine="prefix")

        found = at.line(run, flops, len(drawn.questions), repeats)
        lines.append(
            {
                "row budget": budget.rows,
                "token budget": budget.tokens,
                "items": len(drawn.questions),
                **found,
                "prefill part": needed["prefill"] / flops,
            }
        )
    return lines


def facts(model: LoadedModel) -> dict[str, Any]:
    """Return the versions and settings that the numbers depend on."""
    cuda = model.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(model.device) if cuda else "cpu",
        "memory_gb": torch.cuda.mem_get_info(model.device)[1] / 1e9 if cuda else None,
        "cuda": torch.version.cuda,
        "dtype": str(model.model.dtype),
        "parameters": model.info.n_parameters,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.gpu --out gpu.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--shape", choices=SHAPES, default="llama-3.1-8b", help="of the model (llama-3.1-8b)")
    add("--device", default="cuda", help="where it runs (cuda)")
    add("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    add("--items", type=int, default=800, help="items (800)")
    add("--scan-items", type=int, default=160, help="items for trying row budgets (160)")
    add("--configurations", type=int, default=420, help="of the paper's 420 (420)")
    add("--shots-tokens", type=int, default=0, help="tokens before every prompt, e.g. 1200 (0)")
    add("--check", type=int, default=32, help="items whose letters are checked (32)")
    add("--check-configurations", type=int, default=40, help="and their configurations (40)")
    add("--no-exact", action="store_true", help="no float32 copy to check against")
    add("--repeats", type=int, default=3, help="the median counts (3)")
    add(
        "--peak-tflops",
        type=float,
        help="of the device; known for H100, H200 and A100, otherwise the best product measured",
    )
    add("--compile", action="store_true", help="also try torch.compile and CUDA graphs")
    add("--limit", type=float, default=420, help="no new part is begun after this many seconds")
    add("--out", type=Path, help="write everything measured to this JSON file")
    return parser.parse_args()


def table(title: str, lines: Sequence[dict[str, Any]]) -> None:
    """Print a table with rich if it is installed, else as plain text; skip long lists."""
    shown = [{k: v for k, v in line.items() if not isinstance(v, list)} for line in lines]
    try:
        show(title, shown)
    except ImportError:
        print(f"\n{title}")
        for line in shown:
            print(
                "  "
                + ", ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()
                )
            )


def main() -> None:
    options = arguments()
    began = perf_counter()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    document: dict[str, Any] = {"benchmark": "gpu", "options": vars(options) | {"out": None}}

    def part(name: str, measure: Callable[[], Any]) -> Any:
        """Measure, print and save one part, so that its results survive a later failure."""
        if perf_counter() - began > options.limit:
            document.setdefault("left out", []).append(name)
            return None
        start = perf_counter()
        try:
            document[name] = found = measure()
        except Exception as error:  # GPU time is scarce, so the other parts still run
            document.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"[:500]
            print(f"{name} failed: {document['failed'][name]}")
            return None
        document.setdefault("part seconds", {})[name] = perf_counter() - start
        lines = found if isinstance(found, list) else found.get("table", [found])
        table(f"{name} ({perf_counter() - start:.1f} s)", lines)
        save(options.out, document)
        return found

    model = build(options.shape, device, dtype)
    settle(device)
    document["build seconds"] = perf_counter() - began
    vocabulary = model.model.config.vocab_size
    items = draw(options.items, vocabulary, options.shots_tokens)
    drawn, rows = prepared(items, vocabulary), grid(model, options.configurations)
    part("facts", lambda: facts(model))
    large = device.type == "cuda"
    rates = part("products", lambda: products(model, *((16384, 8192) if large else (256, 512))))
    name = torch.cuda.get_device_name(device) if large else ""
    known = next((tflops for device_name, tflops in PEAKS.items() if device_name in name), None)
    halved = dtype in (torch.bfloat16, torch.float16)
    peak = options.peak_tflops or (known if halved else None) or max((rates or {"": 1.0}).values())
    longest = max(drawn.sequences, key=len)
    budget = fitting(model, len(longest))
    document |= {
        "peak_tflops": peak,
        "fitting": budget._asdict(),
        "covered": covered(model, "residual", longest),
    }
    at = Meter(model, peak, options.repeats)
    # This loads the libraries and makes the first plans, before anything is measured.
    few = drawn.first(4)
    sweeping(at, few, rows[:10], [budget], 1)
    extraction(at, few, [budget.tokens])

    read_lines = part("extraction", lambda: extraction(at, drawn, TOKEN_BUDGETS))
    tokens = min(read_lines or [], key=lambda line: line["s"], default={"token budget": 16384})
    budgets = [Budget(tokens["token budget"], count) for count in ROW_BUDGETS]
    scan = drawn.first(options.scan_items)
    scanned = part("row budgets", lambda: sweeping(at, scan, rows, budgets, 1))
    best = min(scanned or [], key=lambda line: line["s"], default={"row budget": budget.rows})
    chosen = [Budget(tokens["token budget"], best["row budget"]), budget]
    part("sweep", lambda: sweeping(at, drawn, rows, list(dict.fromkeys(chosen)), options.repeats))
    fits = not large or torch.cuda.mem_get_info(device)[0] > 5 * model.info.n_parameters
    part(
        "agreement",
        lambda: agreement(
            model,
            drawn.first(options.check),
            grid(model, options.check_configurations),
            fits and not options.no_exact,
        ),
    )
    # A size that has not run yet, so that the first call shows the cost of a new shape.
    part("attention", lambda: attention(model, drawn, budget.tokens * 3 // 4))
    part("attention of the rows", lambda: row_attention(model, drawn, len(rows), chosen[0].rows))
    part(
        "profile of the sweep",
        lambda: profiled(
            lambda: score_rows(model, scan.questions, rows, budget=chosen[0], engine="prefix"),
            device,
        ),
    )
    part(
        "profile of the extraction",
        lambda: profiled(
            lambda: read(
                model,
                drawn.prompts,
                layers_of("auto", model.n_layers),
                questions=drawn.questions,
                token_budget=chosen[0].tokens,
                engine="prefix",
            ),
            device,
        ),
    )
    if options.compile:
        part("fused", lambda: fused(model, (256, chosen[0].rows)))
    document["total seconds"] = perf_counter() - began
    save(options.out, document)
    if "failed" in document:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
