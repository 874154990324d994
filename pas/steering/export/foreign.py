"""Vectors that other tools made, as vectors of ours: each format's reader, and the import."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from pas.errors import UserError
from pas.models.spec import ModelSpec
from pas.steering.export.activations import read_activations
from pas.steering.export.additions import Addition, Numbers
from pas.steering.export.control_vector import read_control_vector
from pas.steering.export.lm_eval import read_lm_eval
from pas.steering.export.outline import ModelOutline, read_outline
from pas.steering.export.torch_file import numbers_of, read_torch
from pas.steering.intervention import Composition, Intervention
from pas.steering.vector import STEERING_FILE, SteeringVector

Numbering = Literal["blocks", "hidden-states"]
NUMBERINGS: tuple[Numbering, ...] = ("blocks", "hidden-states")
IMPORTED = "imported"  # the method of an imported vector
_ENDINGS = {".gguf": "gguf", ".safetensors": "safetensors", ".pt": "torch", ".pth": "torch"}
_NUMBER = re.compile(r"(?:.*\D)?(\d+)(?:\.(?:weight|vector|direction))?")


class Choice(NamedTuple):
    """What is taken of a file, and how it is read.

    Attributes:
        layers: Decoder blocks to take, counted from 0; all that the file has if there are none.
            For a file with one direction and no layer, the layer.
        numbering: What the layers of the file count. "blocks": N is the output of block N, counted
            from 0. "hidden-states": N is `hidden_states[N]` of transformers, the output of block
            N - 1. A GGUF file and lm-eval's say themselves what they count.
    """

    layers: tuple[int, ...] = ()
    numbering: Numbering = "blocks"


EVERY_LAYER = Choice()


def import_vector(
    source: Any,
    model: ModelSpec | str,
    choice: Choice = EVERY_LAYER,
    *,
    strength: float | None = None,
    task: str | None = None,
    cache_dir: Path | None = None,
) -> SteeringVector | Composition:
    """Return a vector that another tool made.

    Args:
        source: A file: a GGUF control vector (llama.cpp, repeng), `.safetensors`, or `.pt` with
            tensors alone (lm-eval's `steered`, the fields of a `steering_vectors.SteeringVector`, a
            tensor for each layer, a matrix [layers, d_model]). Or an object: a
            `steering_vectors.SteeringVector` or a `repeng.ControlVector`.
        model: The model that the vector was made on.
        choice: Which layers, and how the file counts them.
        strength: Of each vector; by default what the file says, else 1.
        task: A name for what the vector does; the file's by default.
        cache_dir: Folder for converted GGUF models and file hashes.

    Returns:
        A vector where there is one layer, else a composition that steers every position, as other
        tools do.

    Raises:
        UserError: If the file is damaged, holds more than tensors, has another width than the model
            or layers that the model lacks, or does not say which layer it is for.
    """
    spec = ModelSpec(model) if isinstance(model, str) else model
    file = Path(source) if isinstance(source, str | Path) else None
    if choice.numbering not in NUMBERINGS:
        raise UserError(f"--numbering {choice.numbering}: give {' or '.join(NUMBERINGS)}")
    outline = read_outline(spec, cache_dir)
    name = file.name if file else type(source).__name__
    try:
        found = _read(file, outline, choice) if file else _of_object(source, choice)
        additions = _taken(found, choice)
        _check(additions, outline)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"{name}: cannot be imported: {reason}") from error
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file else None
    vectors = [
        SteeringVector(
            direction=addition.direction,
            layer=addition.layer,
            site=addition.site,
            strength=addition.strength if strength is None else strength,
            method=IMPORTED,
            model=spec.located,
            fingerprint=outline.info.fingerprint,
            task=task or (file.stem if file else IMPORTED),
            provenance={"imported": {"from": name, "sha256": digest}},
            architecture=outline.info.architecture,
        )
        for addition in additions
    ]
    if len(vectors) == 1:
        return vectors[0]
    return Composition(tuple(Intervention(vector, positions="all") for vector in vectors))


def _read(file: Path, outline: ModelOutline, choice: Choice) -> list[Addition]:
    kind = _ENDINGS.get(file.suffix)
    if kind is None:
        raise ValueError(f"give a file that ends in {', '.join(_ENDINGS)}")
    if kind == "gguf":
        _refuse_numbering(choice, "llama.cpp and repeng count blocks from 0")
        return _residual(read_control_vector(file))
    if kind == "safetensors":
        return _of_tensors(_safetensors(file), outline, choice)
    content = read_torch(file)
    if isinstance(content, torch.Tensor):
        return _of_tensors({"": content}, outline, choice)
    if not isinstance(content, Mapping) or not content:
        raise ValueError("it holds no tensors by layer or name")
    if "layer_activations" in content:
        layer_type = str(content.get("layer_type", "decoder_block"))
        return read_activations(content["layer_activations"], layer_type, _shift(choice))
    if all(isinstance(key, int) for key in content):
        return read_activations(content, "decoder_block", _shift(choice))
    if all(isinstance(e, Mapping) and "steering_vector" in e for e in content.values()):
        _refuse_numbering(choice, "lm-eval names modules")
        return read_lm_eval(content, outline)
    if all(isinstance(value, torch.Tensor) for value in content.values()):
        return _of_tensors({str(key): value for key, value in content.items()}, outline, choice)
    raise ValueError("it holds something else than tensors by layer or name")


def _refuse_numbering(choice: Choice, reason: str) -> None:
    if choice.numbering != "blocks":
        raise ValueError(f"leave out --numbering: {reason}")


def _safetensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            if STEERING_FILE in (opened.metadata() or {}):
                raise ValueError("it is a vector of pas already; SteeringVector.load reads it")
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"it is no whole file of safetensors ({error})") from error


def _residual(directions: Mapping[int, Numbers], shift: int = 0) -> list[Addition]:
    return [Addition(n - shift, "residual", rows, 1.0) for n, rows in sorted(directions.items())]


def _shift(choice: Choice) -> int:
    return 1 if choice.numbering == "hidden-states" else 0


def _of_tensors(
    tensors: Mapping[str, torch.Tensor], outline: ModelOutline, choice: Choice
) -> list[Addition]:
    """Read one vector, one matrix with a row for each layer, or vectors with numbered names."""
    named = {name: numbers_of(name, tensor) for name, tensor in tensors.items()}
    named = {n: v.reshape(-1) if v.size == max(v.shape, default=0) else v for n, v in named.items()}
    if len(named) == 1:
        [values] = named.values()
        if values.ndim == 2:
            return _of_matrix(values, outline, choice)
        [name] = named
        if _NUMBER.fullmatch(name) is None:
            if len(choice.layers) != 1:
                raise ValueError("it does not say which layer it is for; give --layers and one")
            return [Addition(choice.layers[0], "residual", values, 1.0)]
    directions = {}
    for name, values in named.items():
        match = _NUMBER.fullmatch(name)
        if match is None:
            raise ValueError(f"the name of tensor {name!r} does not end in the number of a layer")
        directions[int(match[1])] = values
    if len(directions) < len(named):
        raise ValueError("several tensors are for one layer")
    return _residual(directions, _shift(choice))


def _of_matrix(values: Numbers, outline: ModelOutline, choice: Choice) -> list[Addition]:
    """Read a matrix; rows that are zero are of layers that are not steered."""
    blocks = outline.info.n_layers
    wanted = blocks + _shift(choice)
    if len(values) != wanted:
        hint = "; is it --numbering hidden-states?" if len(values) == blocks + 1 else ""
        raise ValueError(f"it has {len(values)} rows, the model {blocks} layers{hint}")
    return _residual({n: row for n, row in enumerate(values) if row.any()}, _shift(choice))


def _of_object(source: Any, choice: Choice) -> list[Addition]:
    if hasattr(source, "layer_activations"):
        return read_activations(source.layer_activations, source.layer_type, _shift(choice))
    if hasattr(source, "directions") and isinstance(source.directions, Mapping):
        _refuse_numbering(choice, "repeng counts blocks from 0")
        return _residual({n: np.asarray(v, np.float32) for n, v in source.directions.items()})
    raise ValueError("it is no vector of steering-vectors or repeng, and no file")


def _taken(additions: Iterable[Addition], choice: Choice) -> list[Addition]:
    """Return what is asked for, without what adds nothing."""
    kept = [a for a in additions if a.strength and a.direction.any()]
    if not kept:
        raise ValueError("it holds no direction that is not zero")
    there = {a.layer for a in kept}
    if absent := sorted({*choice.layers} - there):
        known = ", ".join(map(str, sorted(there)))
        raise ValueError(f"it has nothing for layer {absent[0]} (--layers); it has {known}")
    return [a for a in kept if a.layer in (choice.layers or there)]


def _check(additions: Iterable[Addition], outline: ModelOutline) -> None:
    width = outline.info.d_model
    for addition in additions:
        layer, direction = addition.layer, addition.direction
        if direction.shape != (width,):
            shape = list(direction.shape)
            raise ValueError(f"layer {layer} has shape {shape}, and the model {width} dimensions")
        if not np.isfinite(direction).all():
            raise ValueError(f"layer {layer} has numbers that are not finite")
        if not 0 <= layer < outline.info.n_layers:
            raise ValueError(
                f"block {layer} does not exist: model {outline.spec.id} has layers 0 to "
                f"{outline.info.n_layers - 1}"
            )
