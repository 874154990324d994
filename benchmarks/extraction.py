"""Seconds from items to answers and the vectors of three methods at ten layers."""

import tempfile
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks import contenders, ours, peer
from benchmarks.material import METHODS, Material, arguments, asked, contrasts, material
from benchmarks.sweep import HOOKED_SIZES, sizes
from benchmarks.timing import fastest, interleaved, peak_rss, ratio, save, show
from pas.data.examples import Example
from pas.engine.scoring import letter_tokens
from pas.errors import UserError
from pas.methods.contrast import ContrastSet
from storage.lake.files import open_lake

Run = Callable[[], Any]
PARTS = ("predict", "extract")


def _best(make: Callable[[int], Run], candidates: Sequence[int], count: int) -> int:
    return fastest({size: make(size) for size in sizes(candidates, count)})


def runners(
    at: Material,
    items: Sequence[Example],
    sets: dict[str, ContrastSet],
    some_reads: Sequence[int],
    other: peer.Peer | None,
) -> tuple[dict[tuple[str, str], Run], dict[str, int]]:
    """Return each contender's function for each part, and the fastest batch sizes."""
    prompts, model = asked(items), at.model

    def hooked_predict(size: int) -> Run:
        return lambda: contenders.hooked_predict(model, prompts, size)

    def hooked_extract(size: int) -> Run:
        return lambda: contenders.hooked_extraction(model, sets, at.reads, size)

    pairs = peer.paired(sets)
    letters = [ids[0] for ids in letter_tokens(model.info, len(items[0].choices), "bare")]

    def peer_predict(size: int) -> Run:
        assert other is not None
        return lambda: other.sweep([p.text for p in prompts], letters, [None], size)

    def peer_extract(size: int, methods: Sequence[str] = METHODS) -> Run:
        assert other is not None
        chosen = {method: pairs[method] for method in methods}
        return lambda: other.extraction(chosen, at.reads, size)

    def through_the_lake() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return ours.extraction(model, items, at.reads, open_lake(folder))

    batch = {
        "hooked predict": _best(hooked_predict, HOOKED_SIZES, len(items)),
        "hooked extract": _best(hooked_extract, HOOKED_SIZES, len(items)),
    }
    runs: dict[tuple[str, str], Run] = {
        # Ours answers and extracts in one pass.
        ("ours", "both"): lambda: ours.extraction(model, items, at.reads),
        ("ours, through the lake", "both"): through_the_lake,
        ("reference", "predict"): lambda: contenders.reference_predict(model, prompts),
        ("reference", "extract"): lambda: contenders.reference_extraction(model, sets, some_reads),
        ("hooked", "predict"): hooked_predict(batch["hooked predict"]),
        ("hooked", "extract"): hooked_extract(batch["hooked extract"]),
    }
    if other is not None:
        # One method is enough to choose the batch size; the full prompts are the longest texts.
        batch["peer predict"] = _best(peer_predict, peer.BATCH_SIZES, len(items))
        batch["peer extract"] = _best(
            lambda size: peer_extract(size, METHODS[:1]), peer.BATCH_SIZES, len(items)
        )
        runs["peer", "predict"] = peer_predict(batch["peer predict"])
        runs["peer", "extract"] = peer_extract(batch["peer extract"])
    return runs, batch


def warm(runs: dict[tuple[str, str], Run]) -> dict[str, float | None]:
    """Run all contenders but the reference once; return MB above the start, of the larger part."""
    memory: dict[str, float | None] = {}
    for (name, _), run in runs.items():
        if name == "reference":
            continue
        run()
        with peak_rss() as peak:
            run()
        if peak.above is not None:
            memory[name] = max(peak.above, memory.get(name) or 0.0)
    return memory


def compare(
    at: Material, sets: dict[str, ContrastSet], results: dict[tuple[str, str], Any]
) -> dict[str, dict[str, Any]]:
    """Compare the predictions and vectors of every contender with ours."""
    cut = {
        method: ContrastSet([p for p, _ in pairs], [n for _, n in pairs])
        for method, pairs in peer.paired(sets).items()
    }
    answers, vectors = results["ours", "both"]
    agreed: dict[str, dict[str, Any]] = {}
    for (name, part), found in results.items():
        lines = agreed.setdefault(name, {})
        if part == "predict":
            lines |= contenders.agreement(answers, np.asarray(found))
        elif part == "both":
            lines |= {"largest_vector_error": contenders.distance(vectors, found[1])}
        else:
            # The peer's are compared with vectors of the pairs that it was given.
            mine = (
                vectors
                if name != "peer"
                else contenders.hooked_extraction(at.model, cut, at.reads, 16)
            )
            lines |= {
                "vectors": len(found),
                "largest_vector_error": contenders.distance(mine, found),
            }
    return agreed


def main() -> None:
    parser = arguments(
        "extraction",
        __doc__ or "",
        "python -m benchmarks.extraction --items 60 --repeats 3 --out extraction.json",
    )
    parser.add_argument("--items", type=int, default=60, help="training items (60)")
    parser.add_argument(
        "--reference-layers",
        type=int,
        default=1,
        help="layers that the reference really runs, of ten; each costs it the "
        "same, and its time is scaled (1)",
    )
    options = parser.parse_args()
    at = material()
    items = at.train[: options.items]
    picks = contenders.hooked_predict(at.model, asked(items), 16)[:, 0].argmax(axis=-1)
    try:
        sets = contrasts(items, picks)
    except UserError as error:
        raise SystemExit(f"--items {options.items}: {error}") from None
    wanted = np.linspace(0, len(at.reads) - 1, options.reference_layers + 2)[1:-1]
    some_reads = [at.reads[round(i)] for i in wanted]
    other = peer.connect(at.model.model, at.model.tokenizer, at.folder, options.peer_python)
    runs, batch = runners(at, items, sets, some_reads, other)
    memory = warm(runs)
    if isinstance(other, peer.Worker):
        memory.pop("peer", None)  # another process

    results: dict[tuple[str, str], Any] = {}

    def timed(key: tuple[str, str]) -> Run:
        return lambda: results.update({key: runs[key]()})

    taken = interleaved({" ".join(key): timed(key) for key in runs}, options.repeats, 0)
    scale = len(at.reads) / len(some_reads)
    taken["reference extract"] = [scale * t for t in taken["reference extract"]]
    agreed = compare(at, sets, results)

    lines = []
    for name in dict.fromkeys(name for name, _ in runs):
        parts = {part: taken.get(f"{name} {part}") for part in PARTS}
        both = taken.get(f"{name} both") or [sum(t) for t in zip(*parts.values(), strict=True)]
        found = agreed.get(name, {})
        lines.append(
            {
                "contender": name,
                "predict s": median(parts["predict"]) if parts["predict"] else None,
                "extract s": median(parts["extract"]) if parts["extract"] else None,
                "both s": median(both),
                "both / ours": ratio(both, taken["ours both"]),
                "extract / ours both": ratio(parts["extract"] or both, taken["ours both"]),
                "unequal answers": found.get("unequal"),
                "vectors differ by": found.get("largest_vector_error"),
                "memory +MB": memory.get(name),
            }
        )
    if other is None:
        lines.append({"contender": "peer (not installed)"})
    sides = {m: f"{len(s.positives)} + {len(s.negatives)}" for m, s in sets.items()}
    used = {m: len(pairs) for m, pairs in peer.paired(sets).items()}
    distinct = len({t for s in sets.values() for side in s for t in side})
    notes = [
        f"{len(items)} items; prompts (positives + negatives): {sides}, {distinct} distinct; "
        f"{len(at.reads)} layers; medians of {options.repeats} rounds, ratios of the same round. "
        "All but ours are given the contrast sets; ours answers and extracts in one pass over all "
        "that an answer could call for. Through the lake: Parquet and DuckDB included.",
        f"The reference ran {len(some_reads)} of {len(at.reads)} layers, whose extract time is "
        f"scaled by {scale:.3g}: it runs a whole pass per prompt for every layer.",
        "Vectors differ by: the largest difference of an element over the vector's norm.",
        f"Batch sizes, the fastest tried: {batch}.",
        f"Peer: {other.where}. It needs pairs, so the larger side of an unpaired method is cut to "
        f"the smaller, with fewer prompts: {used} pairs. Its vectors are compared with ours "
        "of the same pairs. It has no prediction of its own: that part is a batched pass."
        if other
        else f"Peer: not installed: {peer.INSTALL}",
    ]
    show("Extraction and estimation", lines, notes)
    save(
        options.out,
        {
            "benchmark": "extraction",
            "options": {k: v for k, v in vars(options).items() if k not in ("out", "peer_python")},
            "table": lines,
            "seconds": taken,
            "agreement": agreed,
            "memory_mb": memory,
            "batch_sizes": batch,
            "prompts": sides,
            "peer_pairs": used,
            "peer": other.where if other else None,
            "notes": notes,
        },
    )


if __name__ == "__main__":
    main()
