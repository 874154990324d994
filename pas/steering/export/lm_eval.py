"""The file of lm-eval's model `steered`: hook point -> vector, coefficient and action.

The action `add` adds `coefficient * vector` to the module's output at every position; `clamp` sets
the component along the vector to the coefficient.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pas.errors import UserError
from pas.models.sites import SITES
from pas.models.spec import Site
from pas.steering.export.additions import Addition, additions_of
from pas.steering.export.notes import Notes
from pas.steering.export.outline import ModelOutline
from pas.steering.export.torch_file import numbers_of, write_torch
from pas.steering.intervention import Composition, Intervention


def write_lm_eval(out: Path, composition: Composition, outline: ModelOutline) -> Notes:
    """Write the file `steer_path` of lm-eval's model `steered`.

    Raises:
        UserError: If an operation is asked for that lm-eval lacks, or another one than adding
            shares its place with a second vector.
    """
    places: dict[str, list[Intervention]] = {}
    for one in composition:
        name = outline.hook_point(one.vector.layer, one.vector.site)
        places.setdefault(name, []).append(one)
    entries = {name: _entry(found) for name, found in places.items()}
    write_torch(out, entries)
    return Notes(
        consumer="lm-eval",
        hook_point="the output of the modules " + ", ".join(entries),
        layer_numbering="modules are named as in the base model, decoder blocks from 0",
        strength="apart, as steering_coefficient; the vector is the direction",
        use=(
            f"lm-eval run --model steered --model_args pretrained=MODEL,steer_path={out.name} "
            "--tasks TASK"
        ),
    )


def _entry(found: list[Intervention]) -> dict[str, Any]:
    """Return what lm-eval does in one place."""
    if len(found) > 1 or found[0].operation == "add":
        consumer = "lm-eval, with several vectors in one place,"
        [addition] = additions_of(Composition(tuple(found)), consumer)
        direction, coefficient, action = addition.direction, float(addition.strength), "add"
    else:
        direction, coefficient, action = found[0].vector.direction, _clamped_to(found[0]), "clamp"
    return {
        "steering_vector": torch.from_numpy(direction).clone(),
        "steering_coefficient": coefficient,
        "action": action,
        "bias": None,
        "head_index": None,
    }


def _clamped_to(one: Intervention) -> float:
    """Return the component along the direction that an operation leaves.

    Raises:
        UserError: If the operation leaves none that is fixed.
    """
    [strength] = one.strengths
    if one.operation == "clamp":
        return float(strength * torch.from_numpy(one.vector.direction).norm())
    if one.operation == "ablate" and strength == 1:
        return 0.0
    raise UserError(
        f"lm-eval cannot {one.operation} with strength {strength:g}; it adds and clamps"
    )


def read_lm_eval(content: Mapping[str, Any], outline: ModelOutline) -> list[Addition]:
    """Return what the file of lm-eval's model `steered` adds.

    Raises:
        ValueError: If it does something else than adding to sites of decoder blocks.
    """
    places: dict[str, tuple[int, Site]] = {}
    for layer in range(outline.info.n_layers):
        for site in SITES:
            with suppress(UserError):  # a block without this site
                places[outline.hook_point(layer, site)] = (layer, site)
    additions = []
    for name, entry in content.items():
        if name not in places:
            raise ValueError(f"hook point {name} is no site of a decoder block")
        if entry.get("action") != "add":
            raise ValueError(f"{name}: only the action add can be imported")
        if entry.get("bias") is not None or entry.get("head_index") is not None:
            raise ValueError(f"{name}: a bias and single heads cannot be imported")
        direction = numbers_of(name, entry["steering_vector"]).reshape(-1)
        coefficient = float(entry.get("steering_coefficient", 1.0))
        additions.append(Addition(*places[name], direction, coefficient))
    return additions
