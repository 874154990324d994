"""Calibration: behaviour and damage against strength, and the strongest setting within a budget.

docs/method.md, "Calibration".
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pas.data.chat import PLAIN
from pas.data.examples import Example
from pas.data.prompts import encode
from pas.engine.prefix import Steering
from pas.engine.scoring import ScoringRule
from pas.errors import UserError
from pas.evidence.continuations import repeated_runs, surprise
from pas.evidence.damage import divergences, neutral_texts
from pas.files import write_whole
from pas.methods.selection import MAX_KL
from pas.methods.strengths import answers_at, configuration_of
from pas.models.loading import LoadedModel
from pas.progress import counted
from pas.steering.compatibility import require_fit
from pas.steering.generate import generate_all
from pas.steering.vector import SteeringVector

CALIBRATION_FILE = "calibration.json"
SCHEMA = 1
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of the vector's own strength: where the curve is drawn."""
_REFINEMENTS = 6  # halvings between the last strength within the budget and the first beyond
_NEW_TOKENS = 40
_PROMPTS = 16  # neutral texts whose beginnings are continued


class Point(NamedTuple):
    """One strength on the curve.

    Attributes:
        strength: Factor on the direction.
        accuracy: On the items; NaN where there are none.
        kl: Mean KL divergence on neutral text, in nats per token.
        kl_p95: Its 95th percentile over tokens.
        perplexity: Of continuations with the vector, under the unsteered model.
        repetition: Share of the continuations' runs of four tokens that occurred before in the
            same continuation, 0 to 1.
    """

    strength: float
    accuracy: float
    kl: float
    kl_p95: float
    perplexity: float
    repetition: float


@dataclass(frozen=True)
class Calibration:
    """The curve, and what was chosen.

    Attributes:
        points: By strength, the unsteered model first.
        budget: Largest mean KL divergence, in nats per token.
        strength: The strongest setting within the budget, up to the end of the curve. 0 if even the
            weakest strength exceeds it.
        kl: Its divergence.
        n_items: Items that the accuracies are of.
        content: `SteeringVector.content` of the vector.
    """

    points: tuple[Point, ...]
    budget: float
    strength: float
    kl: float
    n_items: int
    content: str

    def as_dict(self) -> dict[str, Any]:
        """Return the calibration, JSON-able; what was not measured is null."""
        document = asdict(self)
        document["points"] = [
            {k: v if math.isfinite(v) else None for k, v in point._asdict().items()}
            for point in self.points
        ]
        return document | {"schema": SCHEMA}

    def save(self, folder: Path) -> None:
        """Write `calibration.json` into a vector's folder."""
        text = json.dumps(self.as_dict(), indent=2) + "\n"
        write_whole(folder / CALIBRATION_FILE, text.encode())


def read_calibration(folder: Path, vector: SteeringVector) -> float:
    """Return the strength that the calibration in a vector's folder chose.

    Raises:
        UserError: If there is none, or it is of another vector.
    """
    file = folder / CALIBRATION_FILE
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"--strength auto: run pas calibrate {folder} first") from None
    except (OSError, ValueError):
        document = {}
    return calibrated_strength(
        document if isinstance(document, dict) else {}, vector, f"{folder.name}/{file.name}"
    )


def calibrated_strength(document: dict[str, Any], vector: SteeringVector, where: str) -> float:
    """Return the strength that a stored calibration chose.

    Args:
        document: From `Calibration.as_dict`, or a part of it.
        vector: The vector it is used with.
        where: Where it is stored, for a message.

    Raises:
        UserError: If it is not a calibration of this vector.
    """
    strength = document.get("strength")
    if document.get("schema") != SCHEMA or not isinstance(strength, int | float):
        raise UserError(f"{where}: it is no calibration; run pas calibrate again")
    if document.get("content") != vector.content:
        raise UserError(f"{where}: it is the calibration of another vector; run pas calibrate")
    return float(strength)


def calibrate(
    model: LoadedModel,
    vector: SteeringVector,
    items: Sequence[Example] = (),
    rule: ScoringRule | None = None,
    *,
    budget: float = MAX_KL,
    texts: Sequence[str] | None = None,
) -> Calibration:
    """Measure behaviour and damage at strengths around the vector's own, and choose one.

    The strongest setting within the budget is chosen: from 0 on, the last strength before the mean
    KL divergence on neutral text first exceeds the budget. Between two points of the curve it is
    found by halving.

    Args:
        model: The model that the vector will be used with.
        vector: The vector. Its own strength is the unit and gives the sign; 1 if it is 0.
        items: Validation items, which the vector was not made from; without any there is no
            accuracy.
        rule: How they are scored; by default as in the vector's training.
        budget: Largest mean KL divergence, in nats per token.
        texts: Neutral texts; by default those of the verdict.

    Raises:
        UserError: If the vector does not fit the model, the budget is not positive, or a strength
            makes the model overflow before the budget is reached.
    """
    require_fit(vector, model)
    if not budget > 0:
        raise UserError(f"budget {budget}: give a positive number of nats per token")
    texts = neutral_texts() if texts is None else tuple(texts)
    unit = vector.strength or 1.0
    strengths = [factor * unit for factor in FACTORS]
    measured = _divergences(model, vector, texts, strengths)
    accuracies = _accuracies(model, vector, items, rule, strengths)
    points = []
    with counted(len(strengths), "strengths tried") as advance:
        for strength, found, accuracy in zip(strengths, measured, accuracies, strict=True):
            perplexity, repetition = _continuations(model, vector, texts, strength)
            points.append(Point(strength, accuracy, *found, perplexity, repetition))
            advance(1)
    chosen, kl = _strongest(model, vector, texts, points, budget)
    return Calibration(tuple(points), budget, chosen, kl, len(items), vector.content)


def _divergences(
    model: LoadedModel, vector: SteeringVector, texts: Sequence[str], strengths: Sequence[float]
) -> list[tuple[float, float]]:
    """Return mean and 95th percentile of the KL divergence at each strength; NaN on overflow."""
    direction = torch.from_numpy(vector.direction)
    rows = [Steering(vector.layer, strength * direction) for strength in strengths]
    found = divergences(model, texts, rows, vector.site)
    return [(d.damage.kl, float(np.quantile(d.tokens, 0.95))) for d in found]


def _accuracies(
    model: LoadedModel,
    vector: SteeringVector,
    items: Sequence[Example],
    rule: ScoringRule | None,
    strengths: Sequence[float],
) -> list[float]:
    if not items:
        return [math.nan] * len(strengths)
    answers = answers_at(model, vector, items, rule, strengths)
    return [float(answers.correct(configuration_of(vector, s)).mean()) for s in strengths]


def _strongest(
    model: LoadedModel,
    vector: SteeringVector,
    texts: Sequence[str],
    points: Sequence[Point],
    budget: float,
) -> tuple[float, float]:
    """Return the strongest setting within the budget, and its divergence."""
    inside = 0
    while inside + 1 < len(points) and points[inside + 1].kl <= budget:
        inside += 1
    low, kl = points[inside].strength, points[inside].kl
    if inside + 1 == len(points):
        return low, kl
    high = points[inside + 1].strength
    for _ in range(_REFINEMENTS):
        middle = (low + high) / 2
        [(found, _)] = _divergences(model, vector, texts, [middle])
        if found <= budget:
            low, kl = middle, found
        else:
            high = middle
    return low, kl


def _continuations(
    model: LoadedModel, vector: SteeringVector, texts: Sequence[str], strength: float
) -> tuple[float, float]:
    """Return perplexity under the unsteered model, and repetition, of steered continuations.

    The first half of each text is continued. NaN where the steered model overflows.
    """
    prompts = []
    for text in texts[:_PROMPTS]:
        ids = encode(model.info, text).token_ids
        prompts.append(str(model.tokenizer.decode(ids[: max(2, len(ids) // 2)])))
    # Neutral texts are no messages to an assistant.
    plain = replace(vector, prompt=PLAIN)
    try:
        found = generate_all(model, prompts, plain, strength=strength, max_new_tokens=_NEW_TOKENS)
    except UserError:
        return math.nan, math.nan
    total, count, repeated, runs = 0.0, 0, 0, 0
    for prompt, text in zip(prompts, found, strict=True):
        start = encode(model.info, prompt).token_ids
        new = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not new:
            continue
        total += surprise(model, start, new)
        count += len(new)
        again, all_runs = repeated_runs(new)
        repeated, runs = repeated + again, runs + all_runs
    perplexity = math.exp(min(total / count, 700)) if count else math.nan
    return perplexity, repeated / runs if runs else math.nan
