"""Growth of time and memory with items, configurations, prompt length and layers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.figures import bare, save_figure
from benchmarks.material import (
    METHODS,
    RULE,
    LetterPrompt,
    Material,
    arguments,
    asked,
    grid,
    material,
)
from benchmarks.timing import interleaved, peak_rss, save, show
from pas.data.examples import Example
from pas.data.prompts import encode
from pas.engine.extract import read
from pas.engine.prefix import Steering
from pas.engine.scoring import prepare
from pas.engine.sweep import score_rows
from pas.methods.contrast import possible_texts, random_direction
from pas.methods.grid import Configuration
from pas.models.loading import LoadedModel

FACTORS = (1, 2, 4, 8, 16)
SWEEP_ITEMS, EXTRACT_ITEMS = 4, 8
CONFIGURATIONS, COUNTS = 105, (1, 42, 105, 420, 840, 1680)
LENGTHS = (64, 128, 256, 512, 1024)
LAYERS, ROWS = (1, 2, 5, 10, 20), 120
# The first words differ, so that the sentences before the items are not a shared prefix.
_NEUTRAL = (
    "The library opens at nine on weekdays.",
    "Rain is expected in the north this evening.",
    "A train leaves for the coast every hour.",
    "Most of the chairs in the hall are blue.",
    "Fresh bread is delivered before seven.",
    "Two bridges cross the river near the mill.",
)


class Point(NamedTuple):
    """A size, what is run at it, and how many tokens the prompts have together."""

    size: float
    run: Callable[[], object]
    tokens: int


class Series(NamedTuple):
    """What grows, its unit, and the points."""

    name: str
    unit: str
    points: list[Point]


def rows_at(model: LoadedModel, configurations: Sequence[Configuration]) -> list[Steering]:
    """Return random directions. The time of a sweep does not depend on what is added."""
    width = model.info.d_model
    return [
        Steering(
            c.layer, torch.from_numpy(random_direction(width, c.strength, f"{c.method}:{c.layer}"))
        )
        for c in configurations
    ]


def many(layers: Sequence[int], count: int) -> list[Configuration]:
    """Of the paper's grid, and beyond it of the grid with other strengths."""
    whole = grid(layers, min(count, 420))
    rounds = range(-(-count // len(whole)))
    return [c._replace(strength=c.strength * (1 + r / 8)) for r in rounds for c in whole][:count]


def evenly(layers: int, rows: int, blocks: int) -> list[Configuration]:
    """`rows` at so many layers, spread alike over the depth, so that the work is the same."""
    at = [int((i + 0.5) * blocks / layers) for i in range(layers)]
    return [Configuration("random", at[i % layers], 1.0 + i / rows) for i in range(rows)]


def lengthened(model: LoadedModel, items: Sequence[Example], tokens: int) -> list[Example]:
    """Put neutral sentences before the question until the prompt has about so many tokens."""
    longer = []
    for start, item in enumerate(items):
        grown, at = item, start
        while n_tokens(model, asked([grown])) < tokens:
            sentence = _NEUTRAL[at % len(_NEUTRAL)]
            grown, at = replace(grown, question=f"{sentence} {grown.question}"), at + 1
        longer.append(grown)
    return longer


def n_tokens(model: LoadedModel, items: Sequence[LetterPrompt]) -> int:
    return sum(len(encode(model.info, item.text).token_ids) for item in items)


def sweep_at(
    model: LoadedModel,
    size: float | None,
    items: Sequence[Example],
    configurations: Sequence[Configuration],
) -> Point:
    """From prepared questions; a size of None is the mean length of the prompts."""
    texts, rows = asked(items), rows_at(model, configurations)
    questions = [prepare(model.info, i.text, i.choices, 0, RULE) for i in texts]
    tokens = n_tokens(model, texts)
    at = tokens / len(items) if size is None else size
    return Point(at, lambda: score_rows(model, questions, rows), tokens)


def extract_at(
    model: LoadedModel, size: float, items: Sequence[Example], layers: Sequence[int]
) -> Point:
    """Read answers and the activations of all texts that a method may need, in one pass."""
    texts = dict.fromkeys(t for i in items for t in possible_texts(METHODS, i, RULE.kind))
    prompts = [encode(model.info, text) for text in texts]
    questions = [prepare(model.info, i.text, i.choices, 0, RULE) for i in asked(items)]
    tokens = sum(len(p.token_ids) for p in prompts)
    return Point(size, lambda: read(model, prompts, layers, questions=questions), tokens)


def all_series(at: Material, quick: bool) -> list[Series]:
    """Return all series; if `quick`, with the two or three smallest points of each."""
    model, few = at.model, at.val[:SWEEP_ITEMS]
    blocks, usual = model.n_layers, many(at.layers, CONFIGURATIONS)
    factors, counts = FACTORS[: 3 if quick else None], COUNTS[: 3 if quick else None]
    lengths, depths = LENGTHS[: 2 if quick else None], (*LAYERS, blocks)[: 3 if quick else None]
    return [
        Series(
            "sweep: items",
            "item",
            [sweep_at(model, n, at.val[:n], usual) for n in (SWEEP_ITEMS * f for f in factors)],
        ),
        Series(
            "sweep: configurations",
            "configuration",
            [sweep_at(model, count, few, many(at.layers, count)) for count in counts],
        ),
        Series(
            "sweep: prompt length",
            "token",
            [sweep_at(model, None, lengthened(model, few, length), usual) for length in lengths],
        ),
        Series(
            "sweep: layers",
            "layer",
            [sweep_at(model, n, few, evenly(n, ROWS, blocks)) for n in depths],
        ),
        Series(
            "extraction: items",
            "item",
            [
                extract_at(model, n, at.train[:n], at.reads)
                for n in (EXTRACT_ITEMS * f for f in factors)
            ],
        ),
        Series(
            "extraction: layers",
            "layer",
            [extract_at(model, n, at.train[:EXTRACT_ITEMS], range(n)) for n in depths],
        ),
    ]


def exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """Slope of log value over log size, through the last three points."""
    known = [(s, v) for s, v in zip(sizes, values, strict=True) if v and v > 0][-3:]
    if len(known) < 2:
        return None
    return float(np.polyfit(*np.log(np.array(known)).T, 1)[0])


def measure(series: Sequence[Series], repeats: int) -> list[dict[str, Any]]:
    """Return one line per point: seconds, MB above the start, and growth at a series' last."""
    points = {(s.name, p.size): p for s in series for p in s.points}
    memory = {}
    series[0].points[0].run()  # the weights are read from their file when they are first used
    for key, point in points.items():  # this warms up, too
        with peak_rss() as peak:
            point.run()
        memory[key] = peak.above
    labels = {f"{name} {size}": (name, size) for name, size in points}
    taken = interleaved({label: points[key].run for label, key in labels.items()}, repeats, 0)
    seconds = {labels[label]: times for label, times in taken.items()}
    lines = []
    for one in series:
        keys = [(one.name, p.size) for p in one.points]
        middle, sizes = [median(seconds[key]) for key in keys], [p.size for p in one.points]
        for key, point, spent in zip(keys, one.points, middle, strict=True):
            last = key == keys[-1]
            lines.append(
                {
                    "series": one.name,
                    "size": point.size,
                    "unit": one.unit,
                    "tokens": point.tokens,
                    "seconds": spent,
                    "ms a unit": 1000 * spent / point.size,
                    "memory +MB": memory[key],
                    "exponent": exponent(sizes, middle) if last else None,
                    "memory exponent": exponent(sizes, [memory[k] for k in keys]) if last else None,
                    "all seconds": seconds[key],
                }
            )
    return lines


def apart(sizes: Sequence[float]) -> list[float]:
    """Return values whose labels do not overlap on a logarithmic axis, the largest first."""
    least = (sizes[-1] / sizes[0]) ** 0.15
    shown = [sizes[-1]]
    for size in sizes[-2::-1]:
        if shown[-1] / size > least:
            shown.append(size)
    return shown


def draw(lines: Sequence[dict[str, Any]]) -> Figure:
    """Draw time (top), on logarithmic axes with a line of slope 1, and memory (bottom)."""
    names = list(dict.fromkeys(line["series"] for line in lines))
    figure = Figure(figsize=(2.5 * len(names), 5.2), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, sharex="col", sharey="row")
    for (above, below), name in zip(panels.T, names, strict=True):
        own = [line for line in lines if line["series"] == name]
        sizes, seconds = [line["size"] for line in own], [line["seconds"] for line in own]
        guide = [seconds[-1] * size / sizes[-1] for size in sizes]
        bare(above).loglog(sizes, guide, "--", color="0.6", linewidth=1, label="slope 1")
        above.loglog(sizes, seconds, "o-", color="0.0", markersize=4, label="measured")
        slope = own[-1]["exponent"]
        above.set_title(name + (f"\nat the end ~ n^{slope:.2f}" if slope else ""), fontsize=9)
        bare(below).set_xlabel(f"{own[0]['unit']}s", fontsize=9)
        memory = [line["memory +MB"] for line in own]
        if None not in memory:
            below.semilogx(sizes, memory, "s-", color="0.0", markersize=4)
        shown = apart(sizes)
        below.set_xticks([], minor=True)
        below.set_xticks(shown, [f"{size:.0f}" for size in shown])
    spent = [line["seconds"] for line in lines]
    panels[0][0].set_ylim(min(spent) / 2, max(spent) * 1.5)
    panels[0][0].yaxis.set_major_formatter("{x:g}")
    panels[1][0].set_ylim(bottom=0)
    panels[0][0].set_ylabel("seconds", fontsize=9)
    panels[1][0].set_ylabel("memory above the start, MB", fontsize=9)
    panels[0][-1].legend(fontsize=8, frameon=False)
    return figure


def main() -> None:
    parser = arguments(
        "growth",
        __doc__ or "",
        "python -m benchmarks.growth --repeats 3 --out growth.json --figure growth.svg",
    )
    parser.add_argument("--figure", type=Path, help="draw it, svg or png by the name")
    parser.add_argument("--quick", action="store_true", help="the smallest points of each series")
    options = parser.parse_args()
    at = material()
    lines = measure(all_series(at, options.quick), options.repeats)
    shortest = fmean(len(encode(at.model.info, i.text).token_ids) for i in asked(at.val[:4]))
    notes = [
        f"Medians of {options.repeats} rounds in which all points take turns. Exponent: slope of "
        "log seconds over log size through the last three points of a series; 1 is proportional.",
        f"Sweeps: {SWEEP_ITEMS} items of {shortest:.0f} tokens on average and {CONFIGURATIONS} "
        "configurations of the paper's grid where these do not grow. Beyond 420 configurations "
        "the grid is repeated with other strengths.",
        f"Layers of the sweep: always {ROWS} rows, spread over so many layers of alike mean depth, "
        "so a flat line is the best there is.",
        f"Extraction: {EXTRACT_ITEMS} training items and {len(at.reads)} layers where these do not "
        "grow; every text that an answer could call for, and the answers. `tokens` are those of "
        "the texts one by one; what begins alike is run once.",
        "Memory: highest resident memory above the start of the run, as the free memory of the "
        "machine let the budget be chosen.",
    ]
    shown = [{k: v for k, v in line.items() if k != "all seconds"} for line in lines]
    show("Growth", shown, notes)
    save_figure(options.figure, draw(lines))
    save(
        options.out,
        {
            "benchmark": "growth",
            "options": {"repeats": options.repeats, "quick": options.quick},
            "table": lines,
            "notes": notes,
        },
    )


if __name__ == "__main__":
    main()
