"""The published loop and careful hooks. Both compute the same numbers from the same texts.

A sweep returns scores [items, rows, choices]; a row of None is the unsteered model. Tokenising is
part of each call, so that it is timed for all contenders. Extraction returns vectors
[d_model] float64 by (method, block read).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from benchmarks.material import LetterPrompt
from pas.engine.prefix import Steering
from pas.engine.scoring import letter_tokens
from pas.methods.contrast import ContrastSet
from pas.models.loading import LoadedModel
from tests.helpers import oracle

Vectors = dict[tuple[str, int], np.ndarray]
MaybeRow = Steering | None
NEAR_TIE = 1e-3  # of the two best scores: rounding decides such a prediction


# The published loop -----------------------------------------------------------------------------


def reference_sweep(
    model: LoadedModel, items: Sequence[LetterPrompt], rows: Sequence[MaybeRow]
) -> np.ndarray:
    """Run the whole prompt for every configuration of every item."""
    steerings = [None if row is None else oracle.Steering(row.layer, row.delta) for row in rows]

    def scores(item: LetterPrompt, steering: Any) -> list[float]:
        return oracle.letter_scores(  # type: ignore[no-any-return]
            model.model, model.tokenizer, item.text, len(item.choices), "bare", steering
        )

    return stacked([np.array([scores(item, at) for at in steerings]) for item in items])


def reference_predict(model: LoadedModel, items: Sequence[LetterPrompt]) -> np.ndarray:
    """Run one pass per item."""
    return reference_sweep(model, items, [None])


def reference_extraction(
    model: LoadedModel, sets: Mapping[str, ContrastSet], reads: Sequence[int]
) -> Vectors:
    """Run one pass per prompt, layer and method."""
    vectors: Vectors = {}
    for method, chosen in sets.items():
        signed = [(t, 1) for t in chosen.positives] + [(t, -1) for t in chosen.negatives]
        for read in reads:
            found = oracle.mean_difference(model.model, model.tokenizer, signed, read)
            vectors[method, read] = found.numpy()
    return vectors


# Careful hooks ----------------------------------------------------------------------------------


def hooked_sweep(
    model: LoadedModel, items: Sequence[LetterPrompt], rows: Sequence[MaybeRow], batch_size: int
) -> np.ndarray:
    """Run one batched pass with hooks per configuration; read the last position's logits."""
    network = model.model
    letters = [ids[0] for ids in letter_tokens(model.info, _widest(items), "bare")]
    found = np.full((len(items), len(rows), len(letters)), -np.inf)
    with torch.inference_mode():
        for chosen, inputs in _batches(model, [item.text for item in items], batch_size):
            for column, row in enumerate(rows):
                with _adding(network, row):
                    logits = network(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
                found[chosen, column] = logits[:, letters].numpy()
    for at, item in enumerate(items):
        found[at, :, len(item.choices) :] = -np.inf
    return found


def hooked_predict(
    model: LoadedModel, items: Sequence[LetterPrompt], batch_size: int
) -> np.ndarray:
    """Run one batched pass."""
    return hooked_sweep(model, items, [None], batch_size)


def hooked_extraction(
    model: LoadedModel, sets: Mapping[str, ContrastSet], reads: Sequence[int], batch_size: int
) -> Vectors:
    """Run distinct prompts in batches with hooks on all layers, without the output head."""
    network = model.model
    texts = _distinct(sets)
    width = network.config.hidden_size
    values = np.empty((len(texts), len(reads), width))
    with torch.inference_mode():
        for chosen, inputs in _batches(model, texts, batch_size):
            seen: dict[int, torch.Tensor] = {}
            handles = [
                network.model.layers[read].register_forward_hook(_keeping(seen, read))
                for read in reads
            ]
            try:
                network.model(**inputs, use_cache=False)
            finally:
                for handle in handles:
                    handle.remove()
            values[chosen] = torch.stack([seen[read] for read in reads], dim=1).numpy()
    return means(values, reads, {text: at for at, text in enumerate(texts)}, sets)


def _batches(
    model: LoadedModel, texts: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield left-padded batches of texts of similar length."""
    ids = [model.tokenizer(text)["input_ids"] for text in texts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        length = max(len(ids[i]) for i in chosen)
        gaps = [length - len(ids[i]) for i in chosen]
        tokens = [[model.pad_id] * g + ids[i] for g, i in zip(gaps, chosen, strict=True)]
        mask = torch.tensor([[0] * g + [1] * (length - g) for g in gaps])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        yield (
            chosen,
            {
                "input_ids": torch.tensor(tokens),
                "attention_mask": mask,
                "position_ids": positions,
            },
        )


@contextmanager
def _adding(network: Any, row: MaybeRow) -> Iterator[None]:
    if row is None:
        yield
        return

    def add(_module: Any, _args: Any, output: Any) -> None:
        (output[0] if isinstance(output, tuple) else output)[:, -1] += row.delta

    handle = network.model.layers[row.layer].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _keeping(seen: dict[int, torch.Tensor], layer: int) -> Callable[..., None]:
    def keep(_module: Any, _args: Any, output: Any) -> None:
        seen[layer] = (output[0] if isinstance(output, tuple) else output)[:, -1].clone()

    return keep


# Shared -----------------------------------------------------------------------------------------


def _distinct(sets: Mapping[str, ContrastSet]) -> list[str]:
    return list(dict.fromkeys(t for chosen in sets.values() for side in chosen for t in side))


def means(
    values: np.ndarray,
    reads: Sequence[int],
    place: Mapping[str, int],
    sets: Mapping[str, ContrastSet],
) -> Vectors:
    """mean(positives) - mean(negatives) of activations [texts, layers, d_model], in float64."""
    vectors = {}
    for method, (positives, negatives) in sets.items():
        weights = np.zeros(len(values))
        np.add.at(weights, [place[t] for t in positives], 1 / len(positives))
        np.add.at(weights, [place[t] for t in negatives], -1 / len(negatives))
        whole = np.tensordot(weights, values, axes=1)
        vectors |= {(method, read): whole[at] for at, read in enumerate(reads)}
    return vectors


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, int | float]:
    """Count unequal predictions of scores [items, rows, choices]; letter scores lack a constant."""
    unequal = ours.argmax(axis=-1) != theirs.argmax(axis=-1)
    top = np.sort(theirs, axis=-1)
    near = top[..., -1] - top[..., -2] < NEAR_TIE
    gaps = [scores - scores[..., :1] for scores in (ours, theirs)]
    known = np.isfinite(gaps[1])
    return {
        "cells": int(unequal.size),
        "unequal": int(unequal.sum()),
        "unequal_near_ties": int((unequal & near).sum()),
        "largest_score_error": float(np.abs(gaps[0][known] - gaps[1][known]).max()),
    }


def distance(ours: Vectors, theirs: Vectors) -> float:
    """Largest difference of an element relative to the vector's norm, over `theirs`."""
    return max(
        float(np.abs(ours[at] - vector).max() / np.linalg.norm(vector))
        for at, vector in theirs.items()
    )


def _widest(items: Sequence[LetterPrompt]) -> int:
    return max(len(item.choices) for item in items)


def stacked(scores: Sequence[np.ndarray]) -> np.ndarray:
    """[items, rows, choices], choices that an item lacks at -inf."""
    widest = max(part.shape[1] for part in scores)
    padding = [((0, 0), (0, widest - part.shape[1])) for part in scores]
    return np.stack(
        [
            np.pad(part.astype(np.float64), pad, constant_values=-np.inf)
            for part, pad in zip(scores, padding, strict=True)
        ]
    )
