"""Seconds per item of the sweep over methods, layers and strengths."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks import contenders, ours, peer, work
from benchmarks.material import (
    LetterPrompt,
    Material,
    arguments,
    asked,
    by_layer,
    contrasts,
    grid,
    material,
    rows_of,
    spread,
)
from benchmarks.timing import fastest, interleaved, matmul_rate, peak_rss, ratio, save, show
from pas.data.prompts import encode
from pas.engine.prefix import Steering
from pas.engine.scoring import letter_tokens

Run = Callable[[Sequence[Steering]], np.ndarray]
VECTOR_ITEMS = 40
HOOKED_SIZES = (8, 16, 32)


def vectors_of(at: Material) -> contenders.Vectors:
    """Return real vectors, estimated from the first training items."""
    train = at.train[:VECTOR_ITEMS]
    picks = contenders.hooked_predict(at.model, asked(train), 16)[:, 0].argmax(axis=-1)
    return contenders.hooked_extraction(at.model, contrasts(train, picks), at.reads, 16)


def sizes(candidates: Sequence[int], count: int) -> list[int]:
    """Return the batch sizes to try for a number of items."""
    return sorted({min(size, count) for size in candidates})


def like(items: list[LetterPrompt], count: int) -> list[int]:
    """Return `count` of the items, evenly over their lengths."""
    order = sorted(range(len(items)), key=lambda i: len(items[i].text))
    wanted = np.linspace(0, len(items), count, endpoint=False) + len(items) / count / 2
    return sorted(order[int(place)] for place in wanted)


def runners(
    at: Material,
    whole: list[LetterPrompt],
    items: list[LetterPrompt],
    one: Sequence[Steering],
    other: peer.Peer | None,
) -> tuple[dict[str, Run], dict[str, int]]:
    """Return the contenders, and the batch sizes that were fastest on `one` configuration."""

    def hooked(size: int) -> Run:
        return lambda rows: contenders.hooked_sweep(at.model, items, rows, size)

    letters = [
        ids[0] for ids in letter_tokens(at.model.info, max(len(i.choices) for i in items), "bare")
    ]

    def package(size: int) -> Run:
        assert other is not None
        texts = [item.text for item in items]
        return lambda rows: other.sweep(texts, letters, [(r.layer, r.delta) for r in rows], size)

    def best(make: Callable[[int], Run], candidates: Sequence[int]) -> int:
        tried = {size: make(size) for size in sizes(candidates, len(items))}
        return fastest({size: (lambda run=run: run(one)) for size, run in tried.items()})

    batch = {"hooked": best(hooked, HOOKED_SIZES)}
    runs: dict[str, Run] = {
        "ours": lambda rows: ours.sweep(at.model, whole, rows),
        "reference": lambda rows: contenders.reference_sweep(at.model, items, rows),
        "hooked": hooked(batch["hooked"]),
    }
    if other is not None:
        batch["peer"] = best(package, peer.BATCH_SIZES)
        runs["peer"] = package(batch["peer"])
    return runs, batch


def measure(
    runs: dict[str, Run], rows: Sequence[Steering], few: Sequence[Steering], repeats: int
) -> tuple[dict[str, list[float]], dict[str, np.ndarray], dict[str, float | None]]:
    """Return times, scores and MB above the start; all but ours run `few` of the `rows`."""
    share = {name: rows if name == "ours" else few for name in runs}
    memory = {}
    for name, run in runs.items():
        run(few[:1])  # what only a first call costs
        with peak_rss() as peak:  # one configuration shows what all need, except for ours
            run(rows if name == "ours" else few[:1])
        memory[name] = peak.above
    scores: dict[str, np.ndarray] = {}

    def timed(name: str) -> Callable[[], None]:
        return lambda: scores.update({name: runs[name](share[name])})

    return interleaved({name: timed(name) for name in runs}, repeats, 0), scores, memory


def least(at: Material, items: list[LetterPrompt], rows: Sequence[Steering]) -> dict[str, Any]:
    """Return the arithmetic that the whole sweep needs."""
    sequences = [encode(at.model.info, item.text).token_ids for item in items]
    widest = max(len(item.choices) for item in items)
    flops = work.sweep_flops(work.shape_of(at.model), sequences, rows, widest)
    total = flops["prefill"] + flops["rows"] + flops["head"]
    return {"flops": flops, "total_flops": total, "tokens": [len(ids) for ids in sequences]}


def table(
    times: dict[str, list[float]],
    scale: dict[str, float],
    agreed: dict[str, Any],
    memory: dict[str, float | None],
    n_items: int,
) -> list[dict[str, Any]]:
    """Return one line per contender."""
    lines = []
    for name, taken in times.items():
        found = agreed.get(name, {})
        lines.append(
            {
                "contender": name,
                "s/item": median(taken) * scale[name] / n_items,
                "times ours": ratio(taken, times["ours"]) * scale[name],
                "scaled by": scale[name] if scale[name] != 1 else "measured whole",
                "cells compared": found.get("cells"),
                "unequal": found.get("unequal"),
                "of them ties < 1e-3": found.get("unequal_near_ties"),
                "memory +MB": memory[name],
            }
        )
    return lines


def main() -> None:
    parser = arguments(
        "sweep",
        __doc__ or "",
        "python -m benchmarks.sweep --items 6 --configurations 420 --sample 30 --out sweep.json",
    )
    parser.add_argument("--items", type=int, default=6, help="validation items (6)")
    parser.add_argument("--configurations", type=int, default=420, help="of the paper's 420 (420)")
    parser.add_argument("--shots", type=int, default=0, help="exemplars before every prompt (0)")
    parser.add_argument(
        "--sample",
        type=int,
        default=30,
        help="configurations that all but ours really run; the time is scaled to all (30)",
    )
    parser.add_argument(
        "--sample-items",
        type=int,
        default=12,
        help="items of all lengths that all but ours run (12)",
    )
    parser.add_argument(
        "--protocol",
        choices=("sound", "paper"),
        default="sound",
        help="how the data are split: by group or by row (sound)",
    )
    options = parser.parse_args()
    at = material(options.protocol)
    # The exemplars come from the end: the vectors are made from the first items.
    items = asked(at.val[: options.items], at.train[len(at.train) - options.shots :])
    some = like(items, min(options.sample_items, len(items)))
    configurations = grid(at.layers, options.configurations)
    sampled = spread(by_layer(configurations), options.sample)
    vectors = vectors_of(at)
    rows, few = rows_of(configurations, vectors), rows_of(sampled, vectors)
    other = peer.connect(at.model.model, at.model.tokenizer, at.folder, options.peer_python)
    runs, batch = runners(at, items, [items[i] for i in some], few[:1], other)

    rates = matmul_rate(work.matmul_shapes(at.model))
    times, scores, memory = measure(runs, rows, few, options.repeats)
    if isinstance(other, peer.Worker):
        memory["peer"] = None  # another process
    again = matmul_rate(work.matmul_shapes(at.model))
    rates = {shape: max(rate, again[shape]) for shape, rate in rates.items()}

    columns = [configurations.index(c) for c in sampled]
    agreed = {
        name: contenders.agreement(scores["ours"][some][:, columns], found)
        for name, found in scores.items()
        if name != "ours"
    }
    scaled = len(rows) / len(few) * len(items) / len(some)
    scale = {name: 1.0 if name == "ours" else scaled for name in runs}
    lines = table(times, scale, agreed, memory, len(items))
    if other is None:
        lines.append({"contender": "peer", "scaled by": "not installed"})
    bound = least(at, items, rows)
    best = max(rates.values())
    bound |= {"gflops_per_s": rates, "seconds": bound["total_flops"] / best / 1e9}
    bound["ours_over_least"] = median(times["ours"]) / bound["seconds"]
    lines.append(
        {
            "contender": "least work",
            "s/item": bound["seconds"] / len(items),
            "times ours": 1 / bound["ours_over_least"],
            "scaled by": "computed",
        }
    )
    notes = [
        f"{len(items)} items of {min(bound['tokens'])} to {max(bound['tokens'])} tokens, "
        f"{options.shots} shots, {options.protocol} split, {len(rows)} configurations; "
        f"medians of {options.repeats} rounds, ratios of the same round.",
        f"All but ours ran {len(few)} of the {len(rows)} configurations on {len(some)} of the "
        f"{len(items)} items, spread over layers, strengths and lengths; each configuration of "
        "each item is a whole pass to them, so the time is scaled by the quotients. Memory: above "
        "the start, ours with all configurations.",
        f"Batch sizes, the fastest tried: {batch}.",
        f"Peer: {other.where}; it gets logits_to_keep=1, left-padded batches and the last "
        "position alone, which its documented loop lacks."
        if other
        else f"Peer: not installed: {peer.INSTALL}",
        f"Least work: {bound['total_flops'] / 1e9 / len(items):.3g} GFLOP an item "
        f"({bound['flops']['prefill'] / bound['total_flops']:.0%} prefill) at the best product "
        f"measured here, {best:.0f} GFLOP/s ("
        + ", ".join(f"{shape}: {rate:.0f}" for shape, rate in rates.items())
        + f"); {bound['flops']['shared_tokens']} of {bound['flops']['tokens']} tokens begin "
        "another prompt too and count once. "
        f"Ours takes {bound['ours_over_least']:.2f} times as long.",
    ]
    show("Sweep", lines, notes)
    save(
        options.out,
        {
            "benchmark": "sweep",
            "options": {k: v for k, v in vars(options).items() if k not in ("out", "peer_python")},
            "table": lines,
            "seconds": times,
            "scale": scale,
            "agreement": agreed,
            "memory_mb": memory,
            "batch_sizes": batch,
            "least": bound,
            "peer": other.where if other else None,
            "notes": notes,
        },
    )


if __name__ == "__main__":
    main()
