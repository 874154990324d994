"""The mean-difference estimator in memory: directions from weights and captured activations.

docs/method.md, "Contrast sets" (arXiv 2509.22739). The pipeline aggregates the same weights over
the shards in the lake with `storage/catalogue/sql/estimate.sql`; both give the same directions.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pas.engine.extract import Activations
from pas.methods.contrast import RANDOM, ContrastSet, random_direction
from pas.methods.grid import Directions, not_finite_direction

Weights = Mapping[tuple[str, bytes], float]
"""For each (method, prompt key) the factor on the prompt's activation."""


def contrast_weights(
    sets: Mapping[str, ContrastSet], key_of: Mapping[str, bytes]
) -> dict[tuple[str, bytes], float]:
    """Return the weight of every prompt: +1/n for a positive, -1/n for a negative.

    The weights of a prompt that occurs several times in a method are added.

    Args:
        sets: Contrast sets by method, see `pas.methods.contrast.contrast_sets`.
        key_of: The prompt key of every text.
    """
    weights: dict[tuple[str, bytes], float] = {}
    for method, contrast in sets.items():
        for sign, texts in ((1.0, contrast.positives), (-1.0, contrast.negatives)):
            for text in texts:
                key = (method, key_of[text])
                weights[key] = weights.get(key, 0.0) + sign / len(texts)
    return dict(sorted(weights.items()))


def estimate_directions(
    weights: Weights, activations: Activations, write_layers: Sequence[int]
) -> Directions:
    """Sum weight * activation over the prompts, in float64, for every method and layer.

    Args:
        weights: From `contrast_weights`.
        activations: Activations of every weighted prompt, at one layer for each of
            `write_layers`.
        write_layers: Blocks that the directions are added to, in the order of
            `activations.layers`.

    Returns:
        The directions, rounded to float32, ordered by method and layer.

    Raises:
        LookupError: If a weighted prompt has no activation.
        UserError: If a direction is not finite; the message names the method and the layer.
        ValueError: If an activation is not finite (the message names the prompt and the layer), or
            the numbers of layers differ.
    """
    if len(write_layers) != len(activations.layers):
        raise ValueError(
            f"{len(write_layers)} layers to write for {len(activations.layers)} layers read"
        )
    row_of = {key: row for row, key in enumerate(activations.keys)}
    used = sorted({key for _, key in weights})
    lacking = [key for key in used if key not in row_of]
    if lacking:
        raise LookupError(
            f"{len(lacking)} of {len(used)} weighted prompts have no activation, "
            f"the first is {lacking[0].hex()}; extract the activations of all of them"
        )
    methods = sorted({method for method, _ in weights})
    column = {key: i for i, key in enumerate(used)}
    matrix = np.zeros((len(methods), len(used)))
    for (method, key), weight in weights.items():
        matrix[methods.index(method), column[key]] = weight
    rows = [row_of[key] for key in used]
    direction, norm = {}, {}
    for index, layer in enumerate(write_layers):
        # One layer at a time, so that the float64 copy stays small.
        values = activations.values[rows, index].double().numpy()
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if bad.size:
            raise ValueError(
                f"the activation of prompt {used[bad[0]].hex()} at layer "
                f"{activations.layers[index]} is not finite ({bad.size} such prompts)"
            )
        with np.errstate(over="ignore"):  # looked at below, by its place
            vectors = (matrix @ values).astype(np.float32)
        for method, vector in zip(methods, vectors, strict=True):
            direction[method, layer] = vector
            norm[method, layer] = float(np.linalg.norm(vector.astype(np.float64)))
            if not np.isfinite(norm[method, layer]):
                raise not_finite_direction(method, layer)
    order = sorted(direction)
    return Directions({k: direction[k] for k in order}, {k: norm[k] for k in order})


def with_random(directions: Directions, seed: int) -> Directions:
    """Add the control "random" at every layer, with the mean norm of the directions there.

    Args:
        directions: The estimated directions.
        seed: Seed of the draw.
    """
    direction, norm = dict(directions.direction), dict(directions.norm)
    for layer in sorted({layer for _, layer in directions.direction}):
        keys = [key for key in directions.direction if key[1] == layer]
        mean = sum(directions.norm[key] for key in keys) / len(keys)
        d_model = directions.direction[keys[0]].shape[0]
        direction[RANDOM, layer] = random_direction(d_model, mean, f"sweep:{seed}:{layer}")
        norm[RANDOM, layer] = mean
    return Directions(direction, norm)
