"""GGUF control vectors: the files of llama.cpp, and of repeng, which has them from there.

A tensor `direction.N` [d_model] float32 is added to the output of block N at every position. N is
counted from 0, as our layers are, but llama.cpp refuses N = 0 and has no way to steer block 0.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pas.errors import UserError
from pas.files import write_whole
from pas.steering.export.additions import Addition, Numbers, residual_additions_of
from pas.steering.export.notes import Notes
from pas.steering.export.outline import ModelOutline
from pas.steering.intervention import Composition

ARCHITECTURE = "controlvector"
_DIRECTION = re.compile(r"direction\.(\d+)")
_NUMBERING = "direction.N is added to the output of decoder block N, counted from 0"
_BAKED = "in the numbers: a scale of 1 is the vector's own strength"


def write_llama_cpp(out: Path, composition: Composition, outline: ModelOutline) -> Notes:
    """Write a control vector for llama.cpp.

    Raises:
        UserError: If block 0 or another site than the residual stream is steered, or more than an
            addition is asked for.
    """
    rows = residual_additions_of(composition, "llama.cpp")
    if rows[0].layer == 0:
        raise UserError(
            "llama.cpp cannot steer block 0: it numbers the directions of a control vector from 1. "
            "Export to hf, or use a vector for a later layer."
        )
    notes = Notes(
        consumer="llama.cpp",
        hook_point="the output of a block, l_out",
        layer_numbering=f"{_NUMBERING}; llama.cpp refuses N = 0",
        strength=_BAKED,
        use=f"llama-cli -m MODEL.gguf --control-vector {out.name}",
    )
    _write(out, rows, outline, notes)
    return notes


def write_repeng(out: Path, composition: Composition, outline: ModelOutline) -> Notes:
    """Write a control vector for repeng.

    Raises:
        UserError: If another site than the residual stream is steered, or more than an addition is
            asked for.
    """
    rows = residual_additions_of(composition, "repeng")
    layers = [row.layer for row in rows]
    notes = Notes(
        consumer="repeng",
        hook_point="the output of a block",
        layer_numbering=_NUMBERING,
        strength=_BAKED,
        use=(
            f"model = ControlModel(model, {layers}); "
            f'model.set_control(ControlVector.import_gguf("{out.name}"))'
        ),
    )
    _write(out, rows, outline, notes)
    return notes


def _write(out: Path, rows: Sequence[Addition], outline: ModelOutline, notes: Notes) -> None:
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vector.gguf"
        writer = GGUFWriter(str(file), ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", outline.info.architecture)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(rows))
        # Other programs pass over keys that they do not know.
        writer.add_string("pas.hook_point", notes.hook_point)
        writer.add_string("pas.layer_numbering", notes.layer_numbering)
        writer.add_string("pas.positions", notes.positions)
        writer.add_string("pas.strength", notes.strength)
        for row in rows:
            writer.add_tensor(f"direction.{row.layer}", np.ascontiguousarray(row.delta))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_whole(out, file.read_bytes())


def read_control_vector(file: Path) -> dict[int, Numbers]:
    """Return the directions of a control vector by decoder block.

    Raises:
        ValueError: If it is none.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        field = reader.get_field("general.architecture")
        architecture = field.contents() if field else None
        tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    except Exception as error:  # the reader raises what it meets in a damaged file
        raise ValueError(f"it is no whole GGUF file ({error})") from error
    if architecture != ARCHITECTURE:
        raise ValueError(f"it is a GGUF file of {architecture}, not of {ARCHITECTURE}")
    directions = {}
    for name, values in tensors.items():
        if not (match := _DIRECTION.fullmatch(name)):
            raise ValueError(f"it has a tensor {name}, which is no direction.N")
        if values.dtype not in (np.float32, np.float16):
            raise ValueError(f"{name} is not of type float32 or float16")
        directions[int(match[1])] = values.astype(np.float32)
    return directions
