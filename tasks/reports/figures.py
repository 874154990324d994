"""Pictures of a training: the sweep as heat maps, and the answers before and after."""

from string import ascii_uppercase

import numpy as np
from matplotlib.figure import Figure

from pas.evidence.evaluation import LetterCounts, MethodResult
from pas.methods.grid import Cell, Configuration

_CELL_INCHES = (0.62, 0.42)


def heat_map(method: str, cells: list[Cell], baseline: float, selected: Configuration) -> Figure:
    """Draw one method's validation accuracy over layer and strength, relative to unsteered."""
    own = {(c.configuration.layer, c.configuration.strength): c.correct / c.n
           for c in cells if c.configuration.method == method}  # fmt: skip
    layers = sorted({layer for layer, _ in own})
    strengths = sorted({strength for _, strength in own})
    values = np.array([[own[layer, s] for s in strengths] for layer in layers])
    size = (2.6 + _CELL_INCHES[0] * len(strengths), 1.6 + _CELL_INCHES[1] * len(layers))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    reach = max(0.01, float(np.max(np.abs(values - baseline))))
    image = axes.imshow(
        values, cmap="RdBu", vmin=baseline - reach, vmax=baseline + reach, aspect="auto"
    )
    axes.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths])
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_xlabel("strength")
    axes.set_ylabel("layer")
    axes.set_title(f"{method}: validation accuracy (unsteered {baseline:.3f})")
    for row, layer in enumerate(layers):
        for column, strength in enumerate(strengths):
            value = values[row, column]
            strong = abs(value - baseline) > 0.7 * reach
            chosen = selected == Configuration(method, layer, strength)
            axes.text(
                column, row, f"{value:.2f}"[1:] if value < 1 else "1.0", ha="center", va="center",
                fontsize=8, color="white" if strong else "black",
                fontweight="bold" if chosen else "normal",
                bbox={"boxstyle": "round,pad=0.25", "fill": False, "lw": 1.6} if chosen else None,
            )  # fmt: skip
    figure.colorbar(image, ax=axes, label="accuracy")
    return figure


def comparison_chart(methods: dict[str, MethodResult]) -> Figure:
    """Draw each method's test gain with its interval."""
    figure = Figure(figsize=(6, 1.2 + 0.5 * len(methods)), layout="constrained")
    axes = figure.subplots()
    for row, (method, (at, found)) in enumerate(methods.items()):
        axes.plot([found.ci_low, found.ci_high], [row, row], color="tab:blue", lw=2)
        axes.plot(found.delta, row, "o", color="tab:blue")
        label = f"{method}, layer {at.layer}, strength {at.strength:g}"
        axes.annotate(label, (found.delta, row), (0, 6), textcoords="offset points", ha="center",
                      fontsize=8)  # fmt: skip
    axes.axvline(0, color="grey", lw=1)
    axes.set_yticks(range(len(methods)), list(methods))
    axes.set_ylim(-0.6, len(methods) - 0.2)
    axes.set_xlabel("test accuracy, steered minus unsteered (95 % interval)")
    return figure


def positions_chart(letters: LetterCounts) -> Figure:
    """Draw how often each letter was answered, unsteered and steered."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(letters.unsteered))
    axes.bar(at - 0.2, letters.unsteered, 0.4, label="unsteered", color="tab:grey")
    axes.bar(at + 0.2, letters.steered, 0.4, label="steered", color="tab:blue")
    axes.set_xticks(at, list(ascii_uppercase[: len(letters.unsteered)]))
    axes.set_ylabel("test answers")
    axes.legend()
    return figure
